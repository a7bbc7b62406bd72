/** The adapter behind ports/notices: hands each event to the webhook and to syslog, where they are configured. */
import { readFile } from 'node:fs/promises';
import type { Config } from '../config/schema.ts';
import type { ClusterEvent } from '../core/cluster-events.ts';
import type { Millis } from '../core/time.ts';
import type { Notices } from '../ports/notices.ts';
import { FILE_LIMIT, TimeLimitError, withLimit } from '../postgres/time-limit.ts';
import { Outlet, type OutletParts } from './outlet.ts';
import { tellSyslog } from './syslog.ts';
import { post } from './webhook.ts';

export class EventNotices implements Notices {
  readonly #config: () => Config;
  readonly #parts: OutletParts;
  readonly #webhook: Outlet;
  readonly #syslog: Outlet;
  /** A disk that hangs keeps each read: no more than one is begun of a file. */
  readonly #reading = new Map<string, Promise<Buffer>>();

  /** @param config - asked anew with each event: a reload may have changed it */
  constructor(config: () => Config, parts: OutletParts) {
    this.#config = config;
    this.#parts = parts;
    this.#webhook = new Outlet('event_webhook', parts);
    this.#syslog = new Outlet('event_syslog', parts);
  }

  tell(event: ClusterEvent): void {
    const { webhook, syslog } = this.#config().notices;
    if (webhook !== null && isWanted(webhook.events, event)) {
      this.#webhook.add(event, async (one, signal) => {
        const { scope } = this.#config();
        let ca: Buffer | null = null;
        try {
          ca = webhook.cacert === null ? null : await this.#read(webhook.cacert);
        } catch (error) {
          const hangs = error instanceof TimeLimitError;
          const why = hangs ? error.message : ((error as NodeJS.ErrnoException).code ?? 'unknown');
          return { kind: 'failed', said: `cacert could not be read (${why})`, final: !hangs };
        }
        return post(webhook, one, { scope, ca }, signal);
      });
    }
    if (syslog !== null && isWanted(syslog.events, event)) {
      const place = { binDir: '/', clock: this.#parts.clock };
      this.#syslog.add(event, (one, signal) => tellSyslog(syslog, one, this.#config().scope, place, signal));
    }
  }

  async #read(path: string): Promise<Buffer> {
    const { clock } = this.#parts;
    const reading = this.#reading.get(path) ?? readFile(path);
    this.#reading.set(path, reading);
    const over = (): void => void this.#reading.delete(path);
    reading.then(over, over);
    return await withLimit(clock, FILE_LIMIT, 'reading it', reading);
  }

  /** Lets what waits be told for so long, then drops it. */
  async close(limit: Millis): Promise<void> {
    let cancel = (): void => undefined;
    const enough = new Promise<void>((resolve) => {
      cancel = this.#parts.clock.timer(limit, resolve);
    });
    await Promise.all([this.#webhook.close(enough), this.#syslog.close(enough)]);
    cancel();
  }
}

const isWanted = (wanted: readonly string[] | null, event: ClusterEvent): boolean =>
  wanted === null || wanted.includes(event.event);
