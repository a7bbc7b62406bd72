#!/usr/bin/env node
/**
 * Bundles the daemon, the guard and pgha-ctl into dist/: one file each, without node_modules, so that a node needs
 * only Node itself and a start costs a third of what loading the modules one by one costs. It checks nothing: types
 * and lint are `npm run check`.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const dist = join(root, 'dist');

const ENTRIES = [
  { out: 'pgha.js', source: 'src/bin/pgha.ts', dependencies: true },
  { out: 'guard.js', source: 'src/guard/main.ts', dependencies: false },
  { out: 'pgha-ctl.js', source: 'src/bin/pgha-ctl.ts', dependencies: true },
];

const SHEBANG = '#!/usr/bin/env node\n';

/** CommonJS packages inside an ESM bundle call `require` for Node's own modules; ESM has none. */
const REQUIRE_BANNER =
  "import { createRequire as __createRequire } from 'node:module';\nconst require = __createRequire(import.meta.url);";

/**
 * etcd3 reads its .proto files relative to its own file when it is loaded, which cannot work in a bundle. We put the
 * parsed definition in the place of that call. The pattern is etcd3 1.1.2's compiled text; a build against another
 * text must fail here and not at the first start in production.
 */
const inlineEtcdProtos = {
  name: 'inline-etcd-protos',
  setup(build) {
    build.onLoad({ filter: /[\\/]etcd3[\\/]lib[\\/]connection-pool\.js$/ }, ({ path }) => {
      const text = readFileSync(path, 'utf8');
      const call = /\(0, proto_loader_1\.loadSync\)\(`\$\{__dirname\}\/(\.\.\/proto\/rpc\.proto)`, /;
      const found = call.exec(text);
      if (found === null) {
        return { errors: [{ text: `etcd3's call of loadSync was not found in ${path}: adapt scripts/build.mjs` }] };
      }
      const loader = createRequire(createRequire(path).resolve('@grpc/proto-loader'));
      const protobuf = loader('protobufjs');
      const definition = new protobuf.Root().loadSync(join(dirname(path), found[1]), { keepCase: true }).toJSON();
      return {
        contents: text.replace(call, () => `(0, proto_loader_1.fromJSON)(${JSON.stringify(definition)}, `),
        loader: 'js',
      };
    });
  },
};

/**
 * One source file and all it imports, as one ES module.
 *
 * @param dependencies - false: importing any package is an error
 */
export async function bundle(source, out, dependencies = true) {
  const esbuild = await import('esbuild');
  await esbuild.build({
    entryPoints: [source],
    outfile: out,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    minify: true,
    keepNames: true, // error and class names stand in logs
    legalComments: 'none',
    external: ['pg-native', 'esbuild'],
    banner: { js: dependencies ? REQUIRE_BANNER : '' },
    plugins: dependencies ? [inlineEtcdProtos] : [refusePackages],
    logLevel: 'warning',
  });
}

/**
 * Builds what there is a source for and says loudly what there is none for.
 *
 * @returns the files written
 * @throws when esbuild reports an error
 */
export async function build({ quiet = false } = {}) {
  mkdirSync(dist, { recursive: true });
  const written = [];
  for (const entry of ENTRIES) {
    const out = join(dist, entry.out);
    rmSync(out, { force: true });
    if (!existsSync(join(root, entry.source))) {
      console.error(`build: ${entry.source} DOES NOT EXIST, so there is no dist/${entry.out}`);
      continue;
    }
    await bundle(join(root, entry.source), out, entry.dependencies);
    const text = readFileSync(out, 'utf8');
    if (!text.startsWith('#!')) writeFileSync(out, SHEBANG + text);
    chmodSync(out, 0o755);
    written.push(out);
    if (!quiet) console.log(`build: ${relative(root, out)} ${Math.round(statSync(out).size / 1024)} kB`);
  }
  // Makes dist/ an ES module directory of its own, wherever it is copied to.
  writeFileSync(join(dist, 'package.json'), '{ "type": "module" }\n');
  return written;
}

const refusePackages = {
  name: 'refuse-packages',
  setup(build) {
    build.onResolve({ filter: /^[^./]/ }, ({ path, kind }) => {
      if (kind === 'entry-point' || path.startsWith('node:')) return undefined;
      return { errors: [{ text: `the guard must not depend on a package, but imports '${path}'` }] };
    });
  },
};

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await build();
}
