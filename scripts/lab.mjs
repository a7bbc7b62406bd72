/**
 * Makes the end-to-end library (TypeScript, test/e2e/lib) usable from a plain script: bundles it into build/ and
 * imports the result. To be called after ensure.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root } from './build.mjs';

export async function loadLab() {
  const { build } = await import('esbuild');
  const out = join(root, 'build', 'lab.mjs');
  await build({
    entryPoints: [join(root, 'test/e2e/lib/lab.ts')],
    outfile: out,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    packages: 'external',
    logLevel: 'warning',
  });
  return import(`${pathToFileURL(out).href}?${process.pid}`);
}
