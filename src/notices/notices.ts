/** The adapter behind ports/notices: hands each event to the webhook and to syslog, where they are configured. */
import { readFileSync } from 'node:fs';
import type { Config } from '../config/schema.ts';
import type { ClusterEvent } from '../core/cluster-events.ts';
import type { Millis } from '../core/time.ts';
import type { Notices } from '../ports/notices.ts';
import { Outlet, type OutletParts } from './outlet.ts';
import { tellSyslog } from './syslog.ts';
import { post } from './webhook.ts';

export class EventNotices implements Notices {
  readonly #config: () => Config;
  readonly #parts: OutletParts;
  readonly #webhook: Outlet;
  readonly #syslog: Outlet;

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
          ca = webhook.cacert === null ? null : readFileSync(webhook.cacert);
        } catch (error) {
          const { code } = error as NodeJS.ErrnoException;
          return { kind: 'failed', said: `cacert could not be read (${code ?? 'unknown'})`, final: true };
        }
        return post(webhook, one, { scope, ca }, signal);
      });
    }
    if (syslog !== null && isWanted(syslog.events, event)) {
      const place = { binDir: '/', clock: this.#parts.clock };
      this.#syslog.add(event, (one, signal) => tellSyslog(syslog, one, this.#config().scope, place, signal));
    }
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
