/** The .deb as `npm run package` makes it, and the one of a version that nobody has written yet. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { repository } from './client.ts';
import { LATER_VERSION, makeLater } from './later-version.ts';

/** @returns its path */
export function buildPackage(): string {
  execFileSync('node', ['scripts/package.mjs', '--quickly'], { cwd: repository, stdio: 'pipe' });
  const built = join(repository, 'build', 'package');
  const deb = readdirSync(built).find((name) => name.endsWith('.deb'));
  if (deb === undefined) throw new Error(`there is no .deb in ${built}`);
  return join(built, deb);
}

/** @param to - where it is written */
export function packageOfLater(deb: string, to: string): void {
  const tree = mkdtempSync(join(tmpdir(), 'pgha-later-'));
  try {
    execFileSync('dpkg-deb', ['--raw-extract', deb, tree]);
    makeLater(join(tree, 'usr/lib/pgha'));
    const control = join(tree, 'DEBIAN/control');
    writeFileSync(control, readFileSync(control, 'utf8').replace(/^Version: .*$/m, `Version: ${LATER_VERSION}`));
    execFileSync('dpkg-deb', ['--root-owner-group', '-Zgzip', '-z1', '--build', tree, to], { stdio: 'pipe' });
  } finally {
    rmSync(tree, { recursive: true });
  }
}
