import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { expandPlaceholders } from '../../../src/commands/placeholders.ts';

const shell = (command: string): string => execFileSync('/bin/sh', ['-c', command], { encoding: 'utf8' });

describe('placeholders of a command', () => {
  it('are filled, %% is a percent sign, and what nobody knows stays and is told', () => {
    expect(expandPlaceholders('notify --node=%n %% %x', { n: '3' })).toEqual({
      command: "notify --node='3' % %x",
      unknown: ['%x'],
    });
  });

  it.each([
    ['bare', 'printf %%s %d'],
    ['in double quotes', 'printf %%s "%d"'],
    ['in single quotes', "printf %%s '%d'"],
  ])('reach the command as they are, whatever they hold: %s', (_where, template) => {
    const nasty = `it's "over"; touch /nowhere $(id) \`id\` \\ & | # > x`;
    expect(shell(expandPlaceholders(template, { d: nasty }).command)).toBe(nasty);
  });

  it('are found behind an escaped quote as well', () => {
    expect(shell(expandPlaceholders('printf %%s \\"%d', { d: "a'b" }).command)).toBe(`"a'b`);
  });

  it('hold no line ends', () => {
    expect(expandPlaceholders('"%d"', { d: 'a\nb' }).command).toBe('"a b"');
  });
});
