#!/usr/bin/env node
/**
 * Writes docs/configuration.md from the schemas in src/config. A unit test compares the two, so that the page never
 * says something else than the program.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bundled = await build({
  entryPoints: [join(root, 'src/config/document.ts')],
  bundle: true,
  write: false,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  banner: {
    js: "import { createRequire as __createRequire } from 'node:module';\nconst require = __createRequire(import.meta.url);",
  },
  logLevel: 'warning',
});
const text = bundled.outputFiles[0].text;
// `createRequire` needs the address of a real file, which a data: module does not have.
const source = text.replaceAll('import.meta.url', JSON.stringify(import.meta.url));
const { configurationMarkdown } = await import(`data:text/javascript;base64,${Buffer.from(source).toString('base64')}`);

const page = join(root, 'docs/configuration.md');
mkdirSync(dirname(page), { recursive: true });
writeFileSync(page, configurationMarkdown());
console.log(`wrote ${page}`);
