import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { configurationMarkdown, documentedSettings } from '../../../src/config/document.ts';
import { environmentNames } from '../../../src/config/environment.ts';

const page = fileURLToPath(new URL('../../../docs/configuration.md', import.meta.url));

describe('docs/configuration.md', () => {
  it('says what the program does', () => {
    const committed = readFileSync(page, 'utf8');
    expect(committed === configurationMarkdown(), 'docs/configuration.md is out of date: run `npm run docs`').toBe(
      true,
    );
  });
});

describe('the schema', () => {
  it('describes every setting in a sentence', () => {
    for (const { path, setting } of documentedSettings()) expect(setting.description, path.join('.')).toMatch(/[.!]$/);
  });

  it('gives every setting a variable of its own', () => {
    const paths = [...environmentNames.values()].map(({ path }) => path.join('.'));
    expect(new Set(paths).size).toBe(paths.length);
    expect(environmentNames.get('SUPERUSER_PASSWORD_FILE')?.path.join('.')).toBe(
      'postgresql.authentication.superuser.password_file',
    );
    expect(environmentNames.get('RESTAPI_USERNAME')?.path.join('.')).toBe('restapi.authentication.username');
  });
});
