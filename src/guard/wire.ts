/**
 * What daemon and guard say to each other: JSON, one object a line, over a unix socket in the runtime directory. Every
 * request of the daemon carries an id and gets one answer. Used by both ends; needs nothing but Node.
 */
import type { WatchdogState } from '../core/watchdog.ts';
import type { ProcessId } from './family.ts';
import type { WatchdogOptions } from './watchdog-device.ts';

/** Files in the runtime directory. */
export const FILES = {
  socket: 'guard.sock',
  /** Held exclusively by the living guard; contains its pid and start time. */
  lock: 'guard.lock',
  /** What it is armed with: what the next guard arms itself from. */
  state: 'guard.json',
  options: 'guard-options.json',
  log: 'guard.log',
  /** What Node itself prints when it cannot go on. */
  output: 'guard.out',
} as const;

/** Second argument of a guard that is to wait for the one before it, and its word that it does. */
export const SUCCESSOR = 'successor';

/** Exit code of a guard that found a living one in its place. */
export const EXIT_NOT_NEEDED = 3;

/** Where the guard stands in on the health port while no daemon lives. */
export interface HealthOptions {
  readonly host: string;
  readonly port: number;
  readonly tls: {
    readonly certfile: string;
    readonly keyfile: string | null;
    readonly keyfilePassword: string | null;
  } | null;
}

/** Written by the daemon to the options file; read by the guard when it starts and with every hello. */
export interface GuardOptions {
  /** Resolved path; what rule 22 looks at while the guard was told nothing. */
  readonly dataDirectory: string;
  /** null: no stand-in. */
  readonly health: HealthOptions | null;
  /** How long SIGQUIT may take before SIGKILL. */
  readonly graceMs: number;
  /** Under a service manager: end a daemon that hangs after a strike, so that a new one is started. */
  readonly endHungDaemon: boolean;
  /** How long the guard stays with nothing to guard and no daemon. */
  readonly leaveAfterMs: number;
  /** How long a server that nobody leads and nobody told the guard about may run without a daemon (rule 22). */
  readonly unledGraceMs: number;
  /** null: no device is opened. */
  readonly watchdog: WatchdogOptions | null;
  /** The virtual address, which goes when Postgres is ended; null: there is none. */
  readonly address: AddressRemoval | null;
}

/** A program that is kept ready, and what it is told when the address is to go. */
export interface AddressRemoval {
  readonly program: string;
  readonly args: readonly string[];
  readonly input: string;
}

export const DEFAULT_OPTIONS: Omit<GuardOptions, 'dataDirectory'> = {
  health: null,
  graceMs: 300,
  endHungDaemon: false,
  leaveAfterMs: 30_000,
  unledGraceMs: 3_000,
  watchdog: null,
  address: null,
};

/**
 * `deadline`: CLOCK_MONOTONIC in milliseconds. `suspicions`: how many notices of a suspension the daemon has received.
 * `until`, `ttl`: the window that was proven, and the TTL it comes from: for the watchdog device. `boot`, `wall`: how far these
 * clocks were ahead of the monotonic one when the proof was asked for; a daemon of an older version does not say.
 * `postmaster`: the one that the daemon watches, which may work under another path by now.
 */
export type Order =
  | ({ readonly do: 'hello' } & ProcessId)
  | {
      readonly do: 'arm';
      readonly deadline: number;
      readonly dataDirectory: string;
      readonly suspicions: number;
      readonly until?: number;
      readonly ttl?: number;
      readonly boot?: number;
      readonly wall?: number;
      readonly postmaster?: ProcessId;
    }
  | { readonly do: 'disarm' }
  | { readonly do: 'armed?' }
  | { readonly do: 'leave' }
  /** Another guard waits for the lock and goes on with what this one is armed with. */
  | { readonly do: 'make-room' };

export type Request = { readonly id: number } & Order;

export interface Answer {
  readonly id: number;
  readonly ok: boolean;
  /** Only when not ok. */
  readonly why?: string;
  /** To hello: the guard itself, and how many suspensions it has seen. */
  readonly guard?: ProcessId;
  readonly suspicions?: number;
  readonly watchdog?: WatchdogState;
  /** To hello: which program it runs. Left out or null: one that does not know. */
  readonly build?: string | null;
  /** To `armed?`. */
  readonly armed?: { readonly deadline: number; readonly dataDirectory: string } | null;
}

/** What the guard says unasked. */
export type Notice =
  /** The machine may have been suspended: prove leadership anew, now. */
  | { readonly notice: 'suspended'; readonly suspicions: number; readonly because: string }
  /** Answer with a pong: asked after a strike, to tell a daemon that hangs from one that was only late. */
  | { readonly notice: 'ping'; readonly number: number }
  /** What became of the watchdog device: said when it changes. */
  | { readonly notice: 'watchdog'; readonly state: WatchdogState };

export interface Pong {
  readonly pong: number;
}

/** Cuts a stream of text into lines. One per connection. */
export function lineReader(onLine: (line: string) => void, maxLength = 64 * 1024): (chunk: string) => void {
  let rest = '';
  return (chunk) => {
    rest += chunk;
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
      const line = rest.slice(0, end);
      rest = rest.slice(end + 1);
      if (line !== '') onLine(line);
    }
    if (rest.length > maxLength) rest = '';
  };
}
