/** At which moments a daemon makes room for the next one, and at which it says why not. */
import { expect, it } from 'vitest';
import type { Agent } from '../../../src/agent/agent.ts';
import { makeRoom } from '../../../src/agent/making-room.ts';
import { nodeName } from '../../../src/core/store.ts';
import type { Millis } from '../../../src/core/time.ts';
import { after, holding, NOW } from '../core/builders.ts';
import { FakeLog } from './fakes.ts';

const LEADS = holding({ deadline: after(8_800) });

function anAgent(over: Record<string, unknown> = {}) {
  const rooms: (Millis | null)[] = [];
  const {
    fits = true,
    situation = 'following',
    meanwhile = () => undefined,
    ...rest
  } = over as {
    readonly fits?: boolean;
    readonly situation?: string;
    readonly meanwhile?: () => void;
  } & Record<string, unknown>;
  const agent = {
    parts: { log: new FakeLog() },
    keeper: { leadership: LEADS, confirmed: null },
    operations: { running: null },
    reader: { answering: true },
    policy: { pause: false },
    now: () => NOW,
    published: () => ({ decision: { situation } }),
    settings: {
      guardMode: 'on',
      makeRoom: async (room: Millis | null, lastLook: () => string | null) => {
        rooms.push(room);
        meanwhile();
        const why = lastLook();
        if (why !== null) return { kind: 'refused', why };
        return fits ? { kind: 'accepted', version: '0.2.0' } : { kind: 'refused', why: 'pgha.js does not start' };
      },
    },
    ...rest,
  };
  return { agent: agent as unknown as Agent, rooms, log: agent.parts.log };
}

it('goes when all is well, and tells how long the next one may take', async () => {
  const { agent, rooms, log } = anAgent();
  expect(await makeRoom(agent, false)).toMatchObject({
    kind: 'accepted',
    sentence: expect.stringContaining('pgha 0.2.0'),
  });
  // ttl 10 s - margin 1 s - 2 s for a stop in order.
  expect(rooms).toEqual([7_000]);
  expect(log.events).toEqual(['restart.accepted']);
});

it.each([
  ['copy is under way', { operations: { running: { kind: 'copy', since: NOW } } }],
  ['etcd does not answer', { reader: { answering: false } }],
  [
    'pg1 goes on without etcd',
    { keeper: { leadership: { kind: 'none' }, confirmed: { to: nodeName('pg1'), until: after(9) } } },
  ],
  ['there is no leader', { keeper: { leadership: { kind: 'none' }, confirmed: null }, situation: 'leaderless' }],
  ['no window is open', { keeper: { leadership: holding({ windowOpen: false }), confirmed: null } }],
  ['not proven lately', { keeper: { leadership: holding({ deadline: after(4_000) }), confirmed: null } }],
])('does not go while %s, unless it is told to go regardless', async (why, over) => {
  const { agent, rooms, log } = anAgent(over);
  expect(await makeRoom(agent, false)).toMatchObject({ kind: 'refused', sentence: expect.stringContaining(why) });
  expect([rooms, log.events]).toEqual([[], ['restart.refused']]);
  expect((await makeRoom(agent, true)).kind).toBe('accepted');
  expect(rooms).toEqual([null]);
});

it('looks once more when the programs have been tried, which takes its time', async () => {
  const reader = { answering: true };
  const meanwhile = () => {
    reader.answering = false;
  };
  const { agent, log } = anAgent({ reader, meanwhile });
  expect(await makeRoom(agent, false)).toMatchObject({
    kind: 'refused',
    sentence: expect.stringContaining('etcd does not answer'),
  });
  expect(log.events).toEqual(['restart.refused']);
});

it('without a guard, does not go where it leads: nobody would keep the deadline', async () => {
  const { agent } = anAgent();
  const unguarded = { ...agent, settings: { ...agent.settings, guardMode: 'off' as const } } as Agent;
  expect((await makeRoom(unguarded, false)).kind).toBe('refused');
});

it('does not go for a program that does not start, told what you like', async () => {
  for (const force of [false, true])
    expect(await makeRoom(anAgent({ fits: false }).agent, force)).toEqual({
      kind: 'refused',
      sentence: 'pgha.js does not start',
    });
});

it('in maintenance, takes no notice of a window that has no end', async () => {
  const leadership = holding({ deadline: Number.POSITIVE_INFINITY as never });
  const { agent, rooms } = anAgent({ policy: { pause: true }, keeper: { leadership, confirmed: null } });
  expect((await makeRoom(agent, false)).kind).toBe('accepted');
  expect(rooms).toEqual([null]);
});
