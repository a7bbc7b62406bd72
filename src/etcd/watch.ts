/**
 * Watches the cluster's keys over a raw stream, and says only "something may have changed": whoever wants to know what,
 * reads. A stream that is cancelled, breaks or falls silent is replaced by one through the next endpoint, after a
 * fresh read, and everything counts as changed then.
 *
 * etcd3's `Watcher` is not used: a stopped member leaves it silent for good, and two breaks in a row made it lose
 * 50 of 52 events. Silence is told from quiet by asking for progress once a second.
 */
import type { Etcd3, IWatchResponse } from 'etcd3';
import { revision } from '../core/store.ts';
import { millis } from '../core/time.ts';
import type { Change, StopWatching } from '../ports/dcs.ts';
import type { CallOptions, Endpoint } from './endpoint.ts';
import type { KeySpace } from './keys.ts';

const PROGRESS_EVERY_MS = 1_000;
const SILENT_AFTER_MS = 2_000;
const OPENING_LIMIT = millis(1_000);
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 1_000;

export interface Watching {
  readonly keys: KeySpace;
  /** Preferred endpoint first. */
  readonly endpoints: () => readonly Endpoint[];
  readonly onProgressRequest: () => void;
}

type WatchStream = Awaited<ReturnType<Etcd3['watchClient']['watch']>>;

/**
 * etcd ends a stream with this metadata when its member loses sight of the leader. Without it a member that is cut off
 * from the others answers every progress request and never sends an event.
 */
type Interceptor = NonNullable<CallOptions['interceptors']>[number];
const REQUIRE_LEADER: CallOptions = {
  interceptors: [
    (options, nextCall) => {
      const call = nextCall(options) as ReturnType<Interceptor>;
      const start = call.start.bind(call);
      call.start = (metadata, listener) => {
        const own = metadata.clone(); // the given one is shared by all calls of the client
        own.set('hasleader', 'true');
        start(own, listener);
      };
      return call;
    },
  ],
};

export function watchPrefix(watching: Watching, hint: (changes: readonly Change[] | null) => void): StopWatching {
  const { keys } = watching;
  let stopped = false;
  let endStream: () => void = () => undefined;
  let endPause: () => void = () => undefined;

  const keepWatching = async (): Promise<void> => {
    let pause = FIRST_PAUSE_MS;
    let broken: Endpoint | null = null;
    while (!stopped) {
      const endpoints = watching.endpoints();
      const endpoint: Endpoint | undefined = endpoints.find((each) => each !== broken) ?? endpoints[0];
      if (endpoint === undefined) return;
      const stood = await watchThrough(endpoint);
      broken = endpoint;
      pause = stood ? FIRST_PAUSE_MS : Math.min(pause * 2, LONGEST_PAUSE_MS);
      if (!stopped) {
        await new Promise<void>((resume) => {
          const timer = setTimeout(resume, pause).unref();
          endPause = () => {
            clearTimeout(timer);
            resume();
          };
        });
      }
    }
  };

  /** Resolves when this stream is no longer good; true if it had stood. */
  const watchThrough = async (endpoint: Endpoint): Promise<boolean> => {
    const { first, end } = keys;
    let stream: WatchStream;
    let next: bigint;
    try {
      // Through the same client: it also renews an expired token, which a new stream cannot do for itself.
      const head = await endpoint.call(OPENING_LIMIT, (client, options) =>
        client.kv.range({ key: first, range_end: end, count_only: true }, options),
      );
      next = BigInt(head.header.revision) + 1n;
      stream = await endpoint.stream(OPENING_LIMIT, (client) => client.watchClient.watch(REQUIRE_LEADER), endQuietly);
    } catch {
      return false;
    }
    let stood = false;
    await new Promise<void>((over) => {
      let heardAt = performance.now();
      const progress = setInterval(() => {
        if (performance.now() - heardAt > SILENT_AFTER_MS) {
          endpoint.distrust();
          endStream();
          return;
        }
        watching.onProgressRequest();
        stream.write({ progress_request: {} });
      }, PROGRESS_EVERY_MS).unref();
      endStream = () => {
        clearInterval(progress);
        endQuietly(stream);
        over();
      };
      stream.on('error', () => endStream());
      stream.on('end', () => endStream());
      stream.on('data', (answer: IWatchResponse) => {
        if (stopped) return;
        heardAt = performance.now();
        // Compacted, an invalid token, no leader: the next stream starts from a fresh read.
        if (answer.canceled) return endStream();
        if (answer.created) {
          stood = true;
          // From here on events tell; what came before, a read does.
          hint(null);
        }
        if (answer.events.length > 0) {
          // Of a deleted key too, mod_revision is that of the event.
          hint(answer.events.map(({ kv }) => ({ key: keys.relative(kv.key), revision: revision(kv.mod_revision) })));
        }
      });
      if (stopped) endStream();
      else stream.write({ create_request: { key: first, range_end: end, start_revision: String(next) } });
    });
    return stood;
  };

  void keepWatching();
  return () => {
    stopped = true;
    endStream();
    endPause();
  };
}

function endQuietly(stream: WatchStream): void {
  // Ended before it is cancelled: etcd3 takes an error on a writable stream for a failed endpoint, and closes all its
  // connections.
  stream.end();
  stream.cancel();
}
