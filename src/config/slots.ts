/**
 * `slots` and `ignore_slots` of the cluster's settings: what is written in them, in the form in which the core uses it,
 * and what of it makes no sense. Nothing here looks at a server.
 */
import type { PermanentSlot, SlotKind, SlotMatcher, SlotPolicy } from '../core/slots.ts';

export interface SlotProblem {
  /** Where, below the setting: the name of the slot, or the number of the matcher. */
  readonly at: string;
  readonly message: string;
}

interface Read<T> {
  readonly slots: readonly T[];
  readonly problems: readonly SlotProblem[];
}

/** What Postgres takes for the name of a slot (ReplicationSlotValidateName). */
const SLOT_NAME = /^[a-z0-9_]{1,63}$/;
const SLOT_KEYS = ['type', 'database', 'plugin', 'cluster_type'];
const MATCHER_KEYS = ['name', 'type', 'database', 'plugin'];

/** `{name: {type, database, plugin}}`; a name with nothing behind it is a physical slot, as in Patroni. */
export function readPermanentSlots(raw: unknown): Read<PermanentSlot> {
  const slots: PermanentSlot[] = [];
  const problems: SlotProblem[] = [];
  if (!isMap(raw)) return { slots, problems: isEmpty(raw) ? [] : [{ at: '', message: 'must be names with values' }] };
  for (const [name, value] of Object.entries(raw)) {
    const slot = readSlot(name, value ?? {});
    if (typeof slot === 'string') problems.push({ at: name, message: slot });
    // One of a standby cluster only: this version runs none.
    else if (slot !== null) slots.push(slot);
  }
  return { slots, problems };
}

function readSlot(name: string, value: unknown): PermanentSlot | string | null {
  if (!SLOT_NAME.test(name))
    return 'Postgres takes no such name for a slot: a to z, 0 to 9 and _ only, 63 characters at most';
  if (!isMap(value)) return 'must be `type: physical`, or `type: logical` with `database` and `plugin`';
  const unknown = Object.keys(value).find((key) => !SLOT_KEYS.includes(key));
  if (unknown !== undefined) return `\`${unknown}\` is unknown here; known are ${SLOT_KEYS.join(', ')}`;
  const [database, plugin] = [textOf(value['database']), textOf(value['plugin'])];
  if (database === undefined || plugin === undefined) return '`database` and `plugin` must be text';
  const kind = value['type'] ?? (database !== null && plugin !== null ? 'logical' : 'physical');
  if (kind !== 'physical' && kind !== 'logical') return '`type` must be physical or logical';
  if (kind === 'logical' && (database === null || plugin === null))
    return 'a logical slot needs its `database` and its `plugin`';
  if (value['cluster_type'] === 'standby') return null;
  return kind === 'physical' ? { name, kind, database: null, plugin: null } : { name, kind, database, plugin };
}

/** A list of `{name, type, database, plugin}`, each with any of them. */
export function readIgnoredSlots(raw: unknown): Read<SlotMatcher> {
  const slots: SlotMatcher[] = [];
  const problems: SlotProblem[] = [];
  if (!Array.isArray(raw))
    return { slots, problems: isEmpty(raw) ? [] : [{ at: '', message: 'must be a list of `- name: ...`' }] };
  for (const [index, value] of raw.entries()) {
    const matcher = readMatcher(value);
    if (typeof matcher === 'string') problems.push({ at: String(index + 1), message: matcher });
    else slots.push(matcher);
  }
  return { slots, problems };
}

function readMatcher(value: unknown): SlotMatcher | string {
  if (!isMap(value)) return 'must be a map of name, type, database, plugin';
  const unknown = Object.keys(value).find((key) => !MATCHER_KEYS.includes(key));
  if (unknown !== undefined) return `\`${unknown}\` is unknown here; known are ${MATCHER_KEYS.join(', ')}`;
  const [name, type, database, plugin] = MATCHER_KEYS.map((key) => textOf(value[key]));
  if (name === undefined || type === undefined || database === undefined || plugin === undefined)
    return 'name, type, database and plugin must be text';
  if (type !== null && type !== 'physical' && type !== 'logical') return '`type` must be physical or logical';
  // It would fit every slot, and nobody means that.
  if (name === null && type === null && database === null && plugin === null) return 'says of no slot that it is meant';
  return { name, kind: type as SlotKind | null, database, plugin };
}

/** Never fatal: what makes no sense is left out and told. */
export function resolveSlots(permanent: unknown, ignored: unknown, adjustments: string[]): SlotPolicy {
  const wanted = readPermanentSlots(permanent);
  const left = readIgnoredSlots(ignored);
  for (const { at, message } of wanted.problems)
    adjustments.push(`slots${at === '' ? '' : `.${at}`}: ${message}; it is not kept, and no slot is dropped meanwhile`);
  for (const { at, message } of left.problems)
    adjustments.push(`ignore_slots${at === '' ? '' : `[${at}]`}: ${message}; no slot is dropped meanwhile`);
  return {
    permanent: wanted.slots,
    ignored: left.slots,
    complete: wanted.problems.length === 0 && left.problems.length === 0,
  };
}

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isEmpty = (value: unknown): boolean =>
  value === null || value === undefined || value === '' || (Array.isArray(value) && value.length === 0);

/** null: not set; undefined: set to what is no text. */
function textOf(value: unknown): string | null | undefined {
  if (value === null || value === undefined || value === '') return null;
  if (typeof value === 'number') return String(value);
  return typeof value === 'string' ? value : undefined;
}
