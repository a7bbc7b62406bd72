import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { leaseId, revision } from '../../../src/core/store.ts';
import { millis } from '../../../src/core/time.ts';
import type { EventLog } from '../../../src/ports/event-log.ts';
import type { StoredLeadership } from '../../../src/ports/state-file.ts';
import { RuntimeStateFile } from '../../../src/system/state-file.ts';

let directory = '';
let told: string[] = [];
const log: EventLog = { write: (_severity, event) => void told.push(event) };
const aLeadership: StoredLeadership = {
  lease: leaseId('7587869134564786441'),
  ttl: millis(10_000),
  term: revision(2n ** 60n + 1n),
  dataDirectory: '/data',
  gatePassed: true,
};

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'pgha-state-'));
  told = [];
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe('the state file', () => {
  it('gives back what was written, with every bit of lease and term', async () => {
    const file = new RuntimeStateFile(directory, log);
    expect(await file.read()).toBeNull();
    await file.write(aLeadership);
    expect(await new RuntimeStateFile(directory, log).read()).toEqual(aLeadership);
    await file.forget();
    await file.forget();
    expect(await file.read()).toBeNull();
    expect(told).toEqual([]);
  });

  it('counts as absent, and says so, when it is no such file', async () => {
    const file = new RuntimeStateFile(directory, log);
    for (const text of ['', 'x', '[]', 'null', '{"lease":1}']) {
      writeFileSync(join(directory, 'leadership.json'), text);
      expect(await file.read(), text).toBeNull();
    }
    expect(told).toEqual(Array(5).fill('state.unreadable'));
  });

  it('counts as absent when it is from before the last boot', async () => {
    const file = new RuntimeStateFile(directory, log);
    await file.write(aLeadership);
    const path = join(directory, 'leadership.json');
    const stored = JSON.parse(readFileSync(path, 'utf8'));
    writeFileSync(path, JSON.stringify({ ...stored, boot: 'another' }));
    expect(await file.read()).toBeNull();
  });
});
