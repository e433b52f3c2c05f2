import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { parse } from 'yaml'
import { z } from 'zod'
import type { Fault } from './faulty-front.ts'

/** The place where a recipe runs: an empty folder and the environment variables. */
export interface Place {
  readonly dir: string
  readonly env: Readonly<Record<string, string>>
}

/** The steps with which a reader of docs/recipes.md runs one of its blocks. */
export interface Recipe {
  readonly heading: string
  readonly language: string
  /** The program that must be installed. */
  readonly needs: string
  /** Writes the block to the file that the document names, and returns the command that runs it. */
  prepare(code: string, place: Place): { command: readonly string[]; env?: Record<string, string> }
  /** The faults that the recipe must survive. */
  readonly survives: readonly Fault[]
  /** The file that the recipe never overwrites, if the file has a fixed name. */
  readonly keeps?: string
  /** `true` if the process list may show the token, as the document says. */
  readonly showsToken?: boolean
}

const saved =
  (name: string, ...interpreter: readonly string[]): Recipe['prepare'] =>
  (code, { dir }) => {
    writeFileSync(join(dir, name), code)
    return { command: [...interpreter, name] }
  }

const pasted =
  (shell: string): Recipe['prepare'] =>
  (code) => ({ command: [shell, '-c', code] })

const step = z.tuple([
  z.strictObject({
    name: z.string(),
    id: z.string(),
    env: z.record(z.string(), z.string()),
    run: z.string(),
  }),
])

/** Prepares a step as the GitHub Actions runner does: it replaces expressions, and `bash -e` runs the file. */
const asStep: Recipe['prepare'] = (code, { dir, env }) => {
  const [{ env: named, run }] = step.parse(parse(code))
  assert.doesNotMatch(run, /\$\{\{/, 'an expression in a script allows script injection')
  const known: Record<string, string | undefined> = {
    'vars.FIRSTKEY_URL': env['FIRSTKEY_URL'],
    'secrets.FIRSTKEY_TOKEN': env['FIRSTKEY_TOKEN'],
    'strategy.job-index': env['JOB_INDEX'] ?? '0',
  }
  const value = (expression: string) => known[expression] ?? assert.fail(`${expression} is not known`)
  const variables = Object.entries(named).map(([name, text]) => [
    name,
    text.replaceAll(/\$\{\{ (.*?) \}\}/g, (_, expression: string) => value(expression)),
  ])
  writeFileSync(join(dir, 'step.sh'), run)
  const github = { GITHUB_RUN_ID: '19570418', GITHUB_JOB: 'build', GITHUB_OUTPUT: join(dir, 'output') }
  return { command: ['bash', '-e', 'step.sh'], env: { ...github, ...Object.fromEntries(variables) } }
}

/** Acts as the agent loop: calls the tool and prints the result. */
const CALL_TOOL = `
const { run } = await import('./firstkey-tool.mjs')
const result = await run({ name: 'acme-agent' })
console.log(JSON.stringify(result))
process.exit(result.ok ? 0 : 1)
`

const asTool: Recipe['prepare'] = (code, { dir }) => {
  writeFileSync(join(dir, 'firstkey-tool.mjs'), code)
  return { command: ['node', '--input-type=module', '--eval', CALL_TOOL] }
}

const busy = ['busy'] as const
const both = ['busy', 'lost'] as const
const posix = { heading: 'POSIX shell', language: 'sh', survives: both, keeps: 'firstkey.env' }
const json = { survives: both, keeps: 'firstkey.json' }
const pwsh = saved('firstkey.ps1', 'pwsh', '-NoProfile', '-File')

export const recipes: readonly Recipe[] = [
  { heading: 'Ready-made', language: 'sh', needs: 'curl', prepare: pasted('sh'), survives: [] },
  { heading: 'curl', language: 'sh', needs: 'curl', prepare: pasted('sh'), survives: busy, showsToken: true },
  ...['dash', 'bash'].map((sh) => ({ ...posix, needs: sh, prepare: saved('register.sh', sh) })),
  { ...json, heading: 'Node.js', language: 'js', needs: 'node', prepare: saved('firstkey.mjs', 'node') },
  {
    ...json,
    heading: 'Python',
    language: 'python',
    needs: 'python3',
    prepare: saved('firstkey.py', 'python3'),
  },
  { ...json, heading: 'PowerShell', language: 'powershell', needs: 'pwsh', prepare: pwsh },
  { heading: 'GitHub Actions', language: 'yaml', needs: 'bash', prepare: asStep, survives: both },
  { heading: 'A tool for an agent', language: 'js', needs: 'node', prepare: asTool, survives: both },
]

/** The place of the AWS CLI that `.ci/aws-cli` installs. */
const AWS_CLI = join(import.meta.dirname, '../../.cache/aws-cli/bin')
const path = [dirname(process.execPath), AWS_CLI, process.env['PATH']].join(delimiter)

/** Returns the path of a program, or `undefined` if it is not installed. */
export function which(program: string): string | undefined {
  return path
    .split(delimiter)
    .map((folder) => join(folder, program))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}

/**
 * Runs a recipe to its end.
 * @returns its exit code and output, and `curlArgs`, the arguments of curl that the process list would have shown
 */
export async function follow(recipe: Recipe, code: string, place: Place) {
  const { command, env } = recipe.prepare(code, place)
  const home = `${place.dir}.home`
  const curl = join(home, 'bin/curl')
  if (!existsSync(curl)) {
    mkdirSync(dirname(curl), { recursive: true })
    writeFileSync(curl, `#!/bin/sh\nprintf '%s\\n' "$@" >>'${home}/args'\nexec '${which('curl')}' "$@"\n`, {
      mode: 0o755,
    })
  }
  const ended = await runIn(place.dir, command, {
    PATH: `${dirname(curl)}${delimiter}${path}`,
    HOME: home,
    ...(env ?? place.env),
  })
  const argsFile = join(home, 'args')
  return { ...ended, curlArgs: existsSync(argsFile) ? readFileSync(argsFile, 'utf8') : '' }
}

/** Runs a command in a folder to its end. @param env all variables of the command; `PATH` has a default */
export async function runIn(
  dir: string,
  [program = '', ...args]: readonly string[],
  env: Readonly<Record<string, string>>,
) {
  const child = spawn(program, args, {
    cwd: dir,
    env: { PATH: path, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const [[exitCode], stdout, stderr] = await Promise.all([
    once(child, 'close'),
    text(child.stdout),
    text(child.stderr),
  ])
  return { exitCode: Number(exitCode), stdout, stderr }
}
