import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemId } from '../../../src/core/local.ts';
import { leaseId, nodeName, revision } from '../../../src/core/store.ts';
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
  unbounded: true,
  ledAs: systemId('7587869134564786999'),
  list: {
    members: new Map([[nodeName('a'), 'http://a:8008/patroni']]),
    revision: revision(2n ** 60n + 3n),
    unsettled: new Map([[nodeName('b'), 'http://b:8008/patroni']]),
  },
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

  it('that another version has written is read as far as it goes', async () => {
    const file = new RuntimeStateFile(directory, log);
    await file.write(aLeadership);
    const path = join(directory, 'leadership.json');
    const { unbounded: _u, ledAs: _l, failsafe: _f, ...older } = JSON.parse(readFileSync(path, 'utf8'));
    writeFileSync(path, JSON.stringify({ ...older, from_a_later_version: { any: 'thing' } }));
    expect(await file.read()).toEqual({ ...aLeadership, unbounded: false, ledAs: null, list: null });
    for (const failsafe of [{}, { members: { a: 1 }, revision: '7', unsettled: null }, { members: {}, revision: 7 }]) {
      writeFileSync(path, JSON.stringify({ ...older, failsafe }));
      expect(await file.read(), JSON.stringify(failsafe)).toBeNull();
    }
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
