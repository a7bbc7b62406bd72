/** The alerts of config/ by Prometheus' own tool, where it is there (Debian: package prometheus). */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { which } from '../../scripts/ensure.mjs';

const ALERTS = resolve('config/prometheus-alerts.yml');
const promtool = (...args: string[]): { status: number | null; said: string } => {
  const { status, stdout, stderr } = spawnSync('promtool', args, { encoding: 'utf8' });
  return { status, said: stdout + stderr };
};

describe.skipIf(which('promtool') === null)('the alerts for Prometheus', () => {
  it('are rules that it takes', () => {
    expect(promtool('check', 'rules', ALERTS)).toMatchObject({ status: 0 });
  });

  it('fire when nobody accepts writes or two do, and leave a cluster that is well in peace', () => {
    const directory = mkdtempSync(join(tmpdir(), 'pgha-alerts-'));
    try {
      const file = join(directory, 'alerts.test.yml');
      writeFileSync(file, readFileSync('test/contract/fixtures/alerts.test.yml', 'utf8').replace('RULES', ALERTS));
      const { status, said } = promtool('test', 'rules', file);
      expect({ status, said }).toEqual({ status: 0, said: expect.stringContaining('SUCCESS') });
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
