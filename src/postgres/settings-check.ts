/**
 * Whether the server of this node could live with settings that somebody is about to store for the whole cluster. It
 * only asks: nothing of the running server, its files or its data is changed.
 */
import { didYouMean } from '../config/nearest.ts';
import type { ServerSettings } from '../ports/postgres.ts';
import { runCommand } from './command.ts';
import { readMarker } from './markers.ts';
import { madeByVersion, type Place } from './place.ts';
import {
  configDirectory,
  effectiveParameters,
  type RenderInput,
  renderConfiguration,
  renderInput,
} from './server-config.ts';
import { readTrial, startTrial, trialFile } from './trial.ts';

/** Each round finds at least one parameter more: the server stops at the first value that it does not like. */
const ROUNDS = 20;
const LIST_LIMIT_MS = 5_000;

/**
 * @param inForce - what is stored now: an edit is not blamed for what was wrong before it
 * @returns a sentence for each parameter that the server does not know, or whose value it does not take, and for what it
 *   would not start with; empty: it would take them
 */
export async function objectionsToSettings(
  place: Place,
  candidate: ServerSettings,
  inForce: ServerSettings,
): Promise<readonly string[]> {
  // An initdb or a copy wants an empty directory, and there is nothing yet that could be kept from starting.
  if ((await madeByVersion(place)) === null || (await readMarker(place)) !== null) return [];
  const file = trialFile(configDirectory(place), 'asked about');
  const input = { ...(await renderInput(place, candidate)), minimums: {} };
  const wrong = await wrongParameters(place, file, input);
  const [before, after] = [ofCluster(inForce), ofCluster(candidate)];
  const objections = [...wrong]
    .filter(([name]) => before.get(name) !== after.get(name))
    .map(
      ([name, said]) =>
        `postgresql.${nameIn(candidate.recoveryConf, name) ? 'recovery_conf' : 'parameters'}.${name}: ${said}`,
    );
  if (objections.length > 0) return objections;

  const refused = new Set(wrong.keys());
  const why = await startTrial(place, file, renderConfiguration({ ...input, refused }).text);
  if (why === null) return [];
  const now = { ...(await renderInput(place, inForce)), minimums: {} };
  const already = await wrongParameters(place, file, now);
  const text = renderConfiguration({ ...now, refused: new Set(already.keys()) }).text;
  if ((await startTrial(place, file, text)) === why) return [];
  return [`postgresql.parameters: with these Postgres would not start (the server in ${place.binDir} says: ${why})`];
}

const ofCluster = ({ parameters, recoveryConf }: ServerSettings): ReadonlyMap<string, unknown> =>
  new Map(
    [...Object.entries(parameters), ...Object.entries(recoveryConf)].map(([name, is]) => [name.toLowerCase(), is]),
  );

const nameIn = (settings: ServerSettings['parameters'], name: string): boolean =>
  Object.keys(settings).some((written) => written.toLowerCase() === name);

/** Of the parameters that the cluster's settings name: what is wrong with each. */
async function wrongParameters(place: Place, file: string, input: RenderInput): Promise<ReadonlyMap<string, string>> {
  const named = ofCluster(input.settings);
  const wrong = new Map<string, string>();
  for (const { parameter, sentence } of effectiveParameters(input).remarks)
    if (named.has(parameter)) wrong.set(parameter, sentence);
  const refused = new Set<string>();
  for (let round = 0; round < ROUNDS; round += 1) {
    const { text } = renderConfiguration({ ...input, refused });
    const { objections } = await readTrial(place, file, text, [...effectiveParameters(input).values.keys()]);
    const fresh = objections.filter(({ parameter }) => !refused.has(parameter));
    if (fresh.length === 0) break;
    for (const { parameter, message } of fresh) {
      refused.add(parameter);
      if (named.has(parameter)) wrong.set(parameter, await inWords(place, parameter, message));
    }
  }
  return wrong;
}

/** Without the place in a file that is gone by now; for a misspelt name with the one that is near. */
async function inWords(place: Place, parameter: string, message: string): Promise<string> {
  const said = `PostgreSQL ${place.version} says: ${message.replace(/ in file ".*" line \d+$/, '')}`;
  if (!message.startsWith('unrecognized')) return said;
  const { stdout } = await runCommand(place, 'postgres', ['--describe-config'], { limitMs: LIST_LIMIT_MS });
  const known = stdout.split('\n').map((line) => line.split('\t')[0] ?? '');
  return said + didYouMean(parameter, known);
}
