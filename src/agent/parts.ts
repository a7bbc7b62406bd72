/** Everything the agent needs from outside, and what it was told about itself. */
import type { Policy } from '../core/policy.ts';
import type { NodeName } from '../core/store.ts';
import type { Millis } from '../core/time.ts';
import type { Chronicle } from '../ports/chronicle.ts';
import type { Clock } from '../ports/clock.ts';
import type { Commands } from '../ports/commands.ts';
import type { Dcs } from '../ports/dcs.ts';
import type { EventLog } from '../ports/event-log.ts';
import type { Guard } from '../ports/guard.ts';
import type { Notices } from '../ports/notices.ts';
import type { Peers } from '../ports/peers.ts';
import type { Poolers } from '../ports/poolers.ts';
import type { Postgres, ServerSettings } from '../ports/postgres.ts';
import type { Random } from '../ports/random.ts';
import type { StateFile } from '../ports/state-file.ts';
import type { VirtualAddress } from '../ports/virtual-address.ts';

export interface AgentParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly dcs: Dcs;
  readonly postgres: Postgres;
  readonly peers: Peers;
  readonly poolers: Poolers;
  readonly guard: Guard;
  readonly state: StateFile;
  readonly log: EventLog;
  readonly commands: Commands;
  readonly chronicle: Chronicle;
  /** Left out: events are told to the operator's command alone. */
  readonly notices?: Notices;
  /** Left out: none is configured. */
  readonly virtualAddress?: VirtualAddress;
}

type Json = Readonly<Record<string, unknown>>;

/** What etcd's `config` key makes of the settings; never fatal, see config/settings.ts. */
export interface ResolvedSettings {
  readonly policy: Policy;
  readonly server: ServerSettings;
  /** Each value that was not used as it stands, and what is used instead. */
  readonly adjustments: readonly string[];
  readonly notUnderstood: readonly string[];
}

export interface AgentSettings {
  readonly self: NodeName;
  /** As published in the member key. */
  readonly apiUrl: string;
  /** null: no Postgres runs here. */
  readonly connUrl: string | null;
  /** Of a pooler in front of it, published for those who look for it; left out: there is none. */
  readonly proxyUrl?: string;
  readonly tags: Json;
  readonly guardMode: 'on' | 'off';
  readonly resolve: (stored: Json | null) => ResolvedSettings;
  /** Problems of a document before it is stored; empty: it may be. */
  readonly validate: (candidate: Json) => readonly string[];
  readonly merge: (stored: Json, patch: Json) => Json;
  /** What is stored under `config` when the cluster is made. */
  readonly initialConfig: Json;
  /** Reads this node's own file again; what it changes is announced by {@link Agent.settingsRead}. */
  readonly reload: () => Promise<void>;
  /**
   * Ends this daemon in a moment and leaves everything to the next one, if that one would start, and within `room`, as
   * far as one can tell. Trying that takes seconds.
   *
   * @param lastLook - asked right before the end: why not now, after all; null: nothing stands against it
   */
  readonly makeRoom: (
    room: Millis | null,
    lastLook: () => string | null,
  ) => Promise<
    { readonly kind: 'accepted'; readonly version: string } | { readonly kind: 'refused'; readonly why: string }
  >;
}
