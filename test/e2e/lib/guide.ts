/**
 * The commands of a guide, taken from the page itself: what a test types is what a reader types. Only what a machine has of
 * its own is put in, by a list of the test. Here is nothing about what the commands do.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Filling } from './published.ts';

export class Guide {
  readonly #page: string;
  readonly #blocks: readonly string[];
  readonly #typed = new Set<string>();

  /** @param heading - of the section that is meant; left out: the whole page */
  constructor(page: string, heading: string | null = null) {
    this.#page = page;
    this.#blocks = commandBlocks(readFileSync(join(import.meta.dirname, '../../..', page), 'utf8'), heading);
  }

  /**
   * The block that begins so.
   *
   * @param filling - words of the block, and what this machine has in their place
   * @throws when there is none or there are two, or when a word of the list does not stand in it
   */
  block(beginning: string, filling: Filling = []): string {
    const [found, another] = this.#blocks.filter((block) => block.startsWith(beginning));
    if (found === undefined || another !== undefined)
      throw new Error(`${this.#page} has ${found === undefined ? 'no' : 'more than one'} block '${beginning}'`);
    this.#typed.add(found);
    return filling.reduce((text, [word, value]) => {
      if (!text.includes(word))
        throw new Error(`'${word}' does not stand in the block '${beginning}' of ${this.#page}`);
      return text.replaceAll(word, value);
    }, found);
  }

  /** The first lines of those that nobody has asked for. */
  get left(): readonly string[] {
    return this.#blocks.filter((block) => !this.#typed.has(block)).map(firstLine);
  }
}

export const firstLine = (block: string): string => block.split('\n', 1)[0] ?? '';

/** What is indented by four, but for what shows an answer: that begins with a prompt. */
export function commandBlocks(text: string, heading: string | null = null): readonly string[] {
  const from = heading === null ? 0 : text.indexOf(`\n${heading}\n`);
  if (from === -1) throw new Error(`there is no heading '${heading}'`);
  const rest = text.slice(from + (heading?.length ?? 0) + 1);
  const section = heading === null ? text : rest.slice(0, /\n## /.exec(rest)?.index ?? rest.length);
  return [...section.matchAll(/(?<=\n\n)(?: {4}.*\n(?:\n+(?= {4}))?)+/g)]
    .map(([block]) => block.replace(/^ {4}/gm, '').trimEnd())
    .filter((block) => !block.startsWith('$ '));
}
