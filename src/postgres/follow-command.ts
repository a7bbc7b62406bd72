/**
 * The operator's follow_command: run beside everything else, so that no cycle waits for it, and then made good. pgha's
 * own primary_conninfo is written after it in any case: what a command leaves in postgresql.auto.conf would win over
 * the file by which a standby is withdrawn from its primary later.
 */
import { laterBy, type Millis, millis } from '../core/time.ts';
import type { ServerAddress } from '../ports/postgres.ts';
import { follow, isToldToFollow, type RunningServer } from './recovery.ts';
import { connectionString } from './remote.ts';
import { passfilePath, removeOursFromAutoConf } from './server-config.ts';
import type { OperatorCommand, ServiceCommands } from './service-commands.ts';

/** A process that was told to read its files has done so after this; most have within a few milliseconds. */
const READ_BY_NOW: Millis = millis(1_000);
const LOOK_EVERY: Millis = millis(20);

export class FollowCommand {
  readonly #server: RunningServer;
  readonly #service: ServiceCommands;
  #wanted: ServerAddress | null = null;
  #running: Promise<void> | null = null;
  #command: OperatorCommand | null = null;

  constructor(server: RunningServer, service: ServiceCommands) {
    this.#server = server;
    this.#service = service;
  }

  /** Once for each upstream: the cycle asks again until it sees the standby follow. */
  begin(upstream: ServerAddress): void {
    const before = this.#wanted;
    if (before !== null && before.host === upstream.host && before.port === upstream.port) return;
    const { log } = this.#server.place;
    this.#wanted = upstream;
    const earlier = this.#running ?? Promise.resolve();
    const running = earlier
      .then(() => this.#run(upstream))
      .catch((error: unknown) =>
        log.write('error', 'action.failed', `the upstream was not changed to ${upstream.name}`, { error }),
      )
      .finally(() => {
        if (this.#wanted === upstream) this.#wanted = null;
        if (this.#running === running) this.#running = null;
      });
    this.#running = running;
    if (before !== null) void this.#command?.kill();
  }

  /** The upstream is somebody else's matter from now on: resolves when nothing is at work any more that would set it. */
  async stop(): Promise<void> {
    this.#wanted = null;
    void this.#command?.kill();
    await this.#running;
  }

  async #run(upstream: ServerAddress): Promise<void> {
    if (this.#wanted !== upstream) return;
    const { place } = this.#server;
    const { replication } = place.config.postgresql.authentication;
    this.#command = await this.#service.begin('follow_command', {
      values: {
        n: String(upstream.nodeId ?? 0),
        a: upstream.name,
        c: connectionString(
          upstream,
          replication,
          { passfile: passfilePath(place), version: place.version },
          { application_name: place.config.node.name },
        ),
      },
      // Whoever withdraws, promotes or starts meanwhile has the word.
      stillAllowed: () => this.#wanted === upstream,
    });
    // Given up in the very moment in which it was begun: nobody else knows of it yet.
    if (this.#wanted !== upstream) void this.#command?.kill();
    const end = await this.#command?.ended;
    this.#command = null;
    if (this.#wanted !== upstream || end === undefined) return;
    const follows = await this.#isSeenToFollow(upstream, end.orderly);
    if (!follows || !end.orderly) {
      const what = follows ? `it follows ${upstream.name} all the same` : `it is made to follow ${upstream.name} by us`;
      place.log.write('warn', 'command.distrusted', `${end.sentence}; ${what}`);
    }
    if (this.#wanted !== upstream) return;
    await removeOursFromAutoConf(place);
    await follow(this.#server, upstream);
  }

  async #isSeenToFollow(upstream: ServerAddress, patiently: boolean): Promise<boolean> {
    const { clock } = this.#server.place;
    const until = laterBy(clock.now(), READ_BY_NOW);
    for (;;) {
      if (await isToldToFollow(this.#server, upstream)) return true;
      if (!patiently || clock.now() >= until || this.#wanted !== upstream) return false;
      await clock.sleep(LOOK_EVERY);
    }
  }
}
