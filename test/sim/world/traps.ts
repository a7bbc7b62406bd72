/**
 * While a world runs, everything that would bring in real time, real chance or the real machine throws, with a sentence
 * that names the port to use. The harness obeys too.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import net from 'node:net';

function trap(what: string, instead: string): () => never {
  return () => {
    throw new Error(`${what} was used inside of the simulation: use ${instead}`);
  };
}

interface Place {
  readonly on: object;
  readonly name: string;
  readonly instead: string;
}

const PLACES: readonly Place[] = [
  { on: globalThis, name: 'setTimeout', instead: 'the clock port (timer, sleep)' },
  { on: globalThis, name: 'setInterval', instead: 'the clock port (timer)' },
  { on: globalThis, name: 'setImmediate', instead: 'the clock port (timer)' },
  { on: globalThis, name: 'fetch', instead: 'the peers port' },
  { on: globalThis.Math, name: 'random', instead: 'the random port' },
  { on: globalThis.crypto, name: 'randomUUID', instead: 'the random port' },
  { on: globalThis.performance, name: 'now', instead: 'the clock port (now)' },
  { on: AbortSignal, name: 'timeout', instead: 'the clock port and an AbortController' },
  { on: process, name: 'hrtime', instead: 'the clock port (now)' },
  { on: fs, name: 'readFileSync', instead: 'a port' },
  { on: fs, name: 'writeFileSync', instead: 'a port' },
  { on: fs, name: 'readFile', instead: 'a port' },
  { on: fs, name: 'writeFile', instead: 'a port' },
  { on: fs.promises, name: 'readFile', instead: 'a port' },
  { on: fs.promises, name: 'writeFile', instead: 'a port' },
  { on: net, name: 'connect', instead: 'a port' },
  { on: net, name: 'createConnection', instead: 'a port' },
  { on: net, name: 'createServer', instead: 'a port' },
];

/** Sets the traps; what it returns takes them away again. */
export function setTraps(): () => void {
  const undo: (() => void)[] = [];
  for (const { on, name, instead } of PLACES) {
    const own = Object.getOwnPropertyDescriptor(on, name);
    Object.defineProperty(on, name, { configurable: true, writable: true, value: trap(name, instead) });
    undo.push(() => {
      if (own === undefined) Reflect.deleteProperty(on, name);
      else Object.defineProperty(on, name, own);
    });
  }
  const RealDate = globalThis.Date;
  // `new Date(wall)` only prints; without an argument it reads the machine's clock.
  globalThis.Date = new Proxy(RealDate, {
    construct(target, args: unknown[]) {
      if (args.length === 0) trap('new Date()', 'the clock port (wall)')();
      return Reflect.construct(target, args) as object;
    },
    apply: trap('Date()', 'the clock port (wall)'),
    get(target, name, receiver) {
      if (name === 'now') return trap('Date.now', 'the clock port (now, wall)');
      return Reflect.get(target, name, receiver) as unknown;
    },
  });
  undo.push(() => {
    globalThis.Date = RealDate;
  });
  syncBuiltinESMExports();
  return () => {
    for (const one of undo.reverse()) one();
    syncBuiltinESMExports();
  };
}
