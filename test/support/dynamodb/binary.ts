import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** The crate's version. The program has a version of its own: 1.5.0. */
const CRATE_VERSION = '3.2.0'
/** The program's versions that the tests can use: 1.5.0 and newer, below 2. */
const USABLE = /^dynoxide 1\.(?:[5-9]|[1-9]\d+)\./

/** Git ignores it and `npm ci` keeps it, unlike a folder in node_modules. */
const cacheDir = join(import.meta.dirname, `../../../.cache/dynoxide-${CRATE_VERSION}`)
const cachedBinary = join(cacheDir, 'bin/dynoxide')

const REMEDY =
  'Install Rust 1.88 or newer and a C compiler (https://rustup.rs; Debian 12: apt-get install cargo-web gcc libc6-dev), or set DYNOXIDE to the path of a dynoxide program.'

/**
 * Returns the command that runs dynoxide: the path in the environment variable `DYNOXIDE`, `dynoxide` on the PATH, or the one in
 * the checkout's cache, which is built first if there is none.
 * @throws Error if `DYNOXIDE` is set and does not name a dynoxide that the tests can use, or if it cannot be built
 */
export async function findOrBuildDynoxide(): Promise<string> {
  const named = process.env['DYNOXIDE']
  if (named) {
    if (await isUsable(named)) return named
    throw new Error(`DYNOXIDE is ${named}, which is not a dynoxide program of version 1.5 or a later 1.x.`)
  }
  for (const command of ['dynoxide', cachedBinary]) if (await isUsable(command)) return command
  return buildDynoxide()
}

/**
 * Builds dynoxide with cargo into the checkout's cache; returns the program's path. cargo puts the program there when
 * it is complete, so an interrupted build leaves none.
 * @throws Error that says what to install
 */
async function buildDynoxide(): Promise<string> {
  process.stderr.write(`Building dynoxide ${CRATE_VERSION} with cargo (once, about 3 minutes)…\n`)
  const features = ['--no-default-features', '--features', 'native-sqlite,http-server,cli']
  const args = ['install', 'dynoxide-rs', '--version', CRATE_VERSION, '--locked', ...features]
  const cargo = spawn('cargo', [...args, '--root', cacheDir, '--quiet'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const [code] = await once(cargo, 'exit').catch((error) => {
    throw new Error(`cargo cannot be started (${error.message}), so dynoxide cannot be built. ${REMEDY}`)
  })
  if (code !== 0) throw new Error(`cargo could not build dynoxide; its error is above. ${REMEDY}`)
  return cachedBinary
}

/** Reports whether the command is a dynoxide that the tests can use. */
async function isUsable(command: string): Promise<boolean> {
  const printed = await run(command, ['--version']).catch(() => ({ stdout: '' }))
  return USABLE.test(printed.stdout)
}
