import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { expandPlaceholders, type Placeholders } from '../../../src/commands/placeholders.ts';

const shell = (template: string, values: Placeholders): string => {
  const { command, env } = expandPlaceholders(template, values);
  return execFileSync('/bin/sh', ['-c', command], { encoding: 'utf8', env: { PATH: process.env['PATH'], ...env } });
};

describe('placeholders of a command', () => {
  it('are filled, %% is a percent sign, and what nobody knows stays and is told', () => {
    expect(shell('printf "<%%s>" --node=%n %% %x', { n: '3' })).toBe('<--node=3><%><%x>');
    expect(expandPlaceholders('%n %x %x', { n: '3' }).unknown).toEqual(['%x']);
  });

  it.each([
    ['bare', 'printf %%s %d'],
    ['in double quotes', 'printf %%s "%d"'],
    ['in single quotes', "printf %%s '%d'"],
  ])('reach the command as they are, whatever they hold: %s', (_where, template) => {
    const nasty = `it's "over"; touch /nowhere $(id) \`id\` \\ & | # > x`;
    expect(shell(template, { d: nasty })).toBe(nasty);
  });

  it.each([
    ['in a substitution within double quotes', 'printf %%s "$(printf %%s %d)"'],
    ['in backquotes within double quotes', 'printf %%s "`printf %%s %d`"'],
    ['in a here-document', 'cat <<END\n%d\nEND'],
    ['behind an apostrophe in a comment', "true # don't\nprintf %%s %d"],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's, not ours
    ['as the default of a variable', 'printf %%s "${nothing:-it\'s %d}"'],
  ])('are never read as commands, wherever they stand: %s', (_where, template) => {
    const directory = mkdtempSync(join(tmpdir(), 'pgha-placeholders-'));
    const touched = join(directory, 'touched');
    try {
      for (const way of [`; touch ${touched} #`, `$(touch ${touched})`, `\`touch ${touched}\``]) {
        for (const quote of ['', "'", '"']) shell(template, { d: `a${quote}${way}` });
      }
      expect(existsSync(touched)).toBe(false);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('are found behind an escaped quote as well', () => {
    expect(shell('printf %%s \\"%d', { d: "a'b" })).toBe(`"a'b`);
  });

  it('hold no line ends', () => {
    expect(shell('printf %%s "%d"', { d: 'a\nb' })).toBe('a b');
  });
});
