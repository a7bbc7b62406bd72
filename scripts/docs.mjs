#!/usr/bin/env node
/**
 * Writes the pages of docs/ that are made from the program: configuration.md from the schemas in src/config, rules.md
 * from the catalogues of rules and events, and the table of times in runbooks.md. Unit tests compare them, so that no page says something else than the
 * program.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** One source file with all it imports, as a module. */
async function load(source) {
  const bundled = await build({
    entryPoints: [join(root, source)],
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
  // `createRequire` needs the address of a real file, which a data: module does not have.
  const text = bundled.outputFiles[0].text.replaceAll('import.meta.url', JSON.stringify(import.meta.url));
  return import(`data:text/javascript;base64,${Buffer.from(text).toString('base64')}`);
}

function write(name, text) {
  const page = join(root, 'docs', name);
  mkdirSync(dirname(page), { recursive: true });
  writeFileSync(page, text);
  console.log(`wrote ${page}`);
}

const { configurationMarkdown } = await load('src/config/document.ts');
write('configuration.md', configurationMarkdown());
const { rulesMarkdown } = await load('src/log/document.ts');
write('rules.md', rulesMarkdown());

const { budgetMarkdown } = await load('src/config/print.ts');
const { resolveCluster } = await load('src/config/settings.ts');
const runbooks = readFileSync(join(root, 'docs', 'runbooks.md'), 'utf8');
const table = budgetMarkdown(resolveCluster(null, {}).cluster);
write(
  'runbooks.md',
  runbooks.replace(/(<!-- budget: [^>]*-->\n)[\s\S]*?(<!-- end of budget -->)/, `$1\n${table}\n\n$2`),
);
