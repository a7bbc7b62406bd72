/**
 * What the server's own program says of a configuration before it has to live with it. Two trials: one that reads the
 * files as a start would, and from 15 on one that goes through a start up to the point where memory would be taken, in
 * a directory that holds nothing. Neither touches the data, a port or the running server.
 */
import { copyFile, mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { type CommandResult, lastLine, runCommand } from './command.ts';
import { isMissing, makePrivateDirectory, removeDurably, writeDurably } from './durable-file.ts';
import type { Place } from './place.ts';
import { FILE_LIMIT, withLimit } from './time-limit.ts';

const TRIAL_LIMIT_MS = 5_000;
const TRIAL_DIRECTORY = 'trial-';
/** From here on a size that only a start can know may be asked for, and the program gets that far to tell it. */
const TELLS_RUNTIME_SIZES = 15;

/** Messages are read by a program. */
const IN_ENGLISH = ['-c', 'lc_messages=C'] as const;

/** Written for a trial and removed with it; what is there at a start of the daemon is of one that was killed in between. */
const TRIAL_FILES = ['pgha-trial.conf', 'pgha-check.conf'] as const;

/**
 * @param directory - of the configuration
 * @param purpose - of the configuration that is in force, or of one that somebody is about to store
 */
export const trialFile = (directory: string, purpose: 'in force' | 'asked about'): string =>
  join(directory, purpose === 'in force' ? TRIAL_FILES[0] : TRIAL_FILES[1]);

/** Best effort: what stays harms nobody. */
export async function removeLeftTrials(place: Place): Promise<void> {
  const remove = async (): Promise<void> => {
    const { configDir } = place.config.postgresql;
    for (const name of TRIAL_FILES) await rm(join(configDir ?? place.dataDir, name), { force: true });
    for (const name of await readdir(place.runtimeDirectory).catch(() => []))
      if (name.startsWith(TRIAL_DIRECTORY))
        await rm(join(place.runtimeDirectory, name), { recursive: true, force: true });
  };
  await withLimit(place.clock, FILE_LIMIT, 'removing what is left of a trial', remove()).catch(() => undefined);
}

/** Something that the server says of one of our parameters. */
export interface Objection {
  readonly parameter: string;
  readonly message: string;
}

/**
 * Reads the configuration as the server would.
 *
 * @param file - a path of nobody else's in the directory of the configuration, as includes are relative to it
 * @param names - of the parameters that `text` sets
 * @returns what is wrong with parameters of ours, as far as the server told it at once, and its words where it refused
 */
export async function readTrial(
  place: Place,
  file: string,
  text: string,
  names: readonly string[],
): Promise<{ readonly objections: readonly Objection[]; readonly refusal: string | null }> {
  try {
    await writeDurably(place, file, text);
    const args = ['-D', place.dataDir, `--config-file=${file}`, ...IN_ENGLISH, '-C', 'port'];
    const asked = await runCommand(place, 'postgres', args, { limitMs: TRIAL_LIMIT_MS });
    if (asked.code === 0) return { objections: [], refusal: null };
    return { objections: objectionsTo(asked.stderr, names), refusal: asked.stderr };
  } finally {
    await removeDurably(place, file);
  }
}

/**
 * Goes through a start with this configuration: libraries are loaded, settings compared with each other, certificates
 * read. An older server cannot be asked.
 *
 * @returns the reason for which it would not start; null: it would, or this cannot be told
 */
export async function startTrial(place: Place, file: string, text: string): Promise<string | null> {
  if (place.version < TELLS_RUNTIME_SIZES) return null;
  await makePrivateDirectory(place, place.runtimeDirectory);
  const directory = await mkdtemp(join(place.runtimeDirectory, TRIAL_DIRECTORY));
  try {
    // Without data there is nothing yet that could be kept from starting.
    if (!(await withLimit(place.clock, FILE_LIMIT, 'preparing a trial', imitate(place, directory)))) return null;
    await writeDurably(place, file, text);
    const instead = {
      // Debian's own file names the real one.
      data_directory: directory,
      listen_addresses: '',
      unix_socket_directories: '',
      external_pid_file: '',
      logging_collector: 'off',
      log_destination: 'stderr',
    };
    const overrides = Object.entries(instead).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const args = ['-D', directory, `--config-file=${file}`, ...IN_ENGLISH, ...overrides, '-C', 'shared_memory_size'];
    return whyNot(await runCommand(place, 'postgres', args, { limitMs: TRIAL_LIMIT_MS }));
  } finally {
    await removeDurably(place, file);
    await rm(directory, { recursive: true, force: true });
  }
}

/**
 * As much of a data directory as a start looks at first; certificates and the like are found under their names.
 *
 * @returns whether there is one to imitate
 */
async function imitate(place: Place, directory: string): Promise<boolean> {
  const control = join('global', 'pg_control');
  await makePrivateDirectory(place, directory);
  await makePrivateDirectory(place, join(directory, 'global'));
  try {
    await copyFile(join(place.dataDir, control), join(directory, control));
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
  for (const entry of await readdir(place.dataDir, { withFileTypes: true })) {
    if (entry.isDirectory() || /^postmaster\./.test(entry.name)) continue;
    await symlink(join(place.dataDir, entry.name), join(directory, entry.name));
  }
  return true;
}

function whyNot(asked: CommandResult): string | null {
  // One that was ended, or could not get so far for reasons of its own, has said nothing about the settings.
  if (asked.endedBy !== 'itself' || asked.code === 0) return null;
  return lastLine(asked)
    .replace(/^.*?(?:FATAL|PANIC|ERROR): {2}/, '')
    .trim();
}

/** Which of our parameters the server's messages are about. */
export function objectionsTo(stderr: string, names: readonly string[]): Objection[] {
  const objections: Objection[] = [];
  for (const line of stderr.split('\n')) {
    const message = /(?:LOG|FATAL|ERROR|HINT|WARNING): {2}(.*)/.exec(line)?.[1];
    const quoted =
      message === undefined ? null : /parameter "([^"]+)"|^"?([a-z_.0-9]+)"? .*(?:requires|must)/.exec(message);
    const name = (quoted?.[1] ?? quoted?.[2])?.toLowerCase();
    if (message === undefined || name === undefined || !names.includes(name)) continue;
    if (objections.every(({ parameter }) => parameter !== name)) objections.push({ parameter: name, message });
  }
  return objections;
}
