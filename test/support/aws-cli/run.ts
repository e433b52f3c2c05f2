import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { z } from 'zod'
import { which } from '../recipes.ts'

export interface AwsCli {
  /**
   * Runs pasted commands: a shell reads them, and the AWS CLI gets the words that the shell makes of them.
   * @throws Error with the output of the first command that fails
   */
  run(commands: string, env: Readonly<Record<string, string>>): Promise<void>
  stop(): Promise<void>
}

const answer = z.object({ code: z.number(), output: z.string() })

/** Starts the AWS CLI that `.ci/aws-cli` installs, once for all commands of a test file. @returns `undefined` if there is none */
export function startAwsCli(): AwsCli | undefined {
  const python = join(dirname(which('aws') ?? ''), 'python')
  if (which('aws') === undefined) return undefined
  const child = spawn(python, [join(import.meta.dirname, 'run.py')], { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const exit = once(child, 'exit')
  // In the shell, `aws` writes down its words.
  const folder = mkdtempSync(join(tmpdir(), 'firstkey-aws-'))
  const stub = '#!/bin/sh\nprintf "%s\\0" "$@" "" >>"$AWS_WORDS"\n'
  writeFileSync(join(folder, 'aws'), stub, { mode: 0o755 })
  return {
    async run(commands, env) {
      const words = join(folder, 'words')
      writeFileSync(words, '')
      const PATH = [folder, process.env['PATH']].join(delimiter)
      await promisify(execFile)('sh', ['-euc', commands], { env: { PATH, AWS_WORDS: words } })
      for (const args of wordsOf(readFileSync(words, 'utf8'))) {
        child.stdin.write(`${JSON.stringify({ args, env: { ...env, HOME: '/nonexistent' } })}\n`)
        const { code, output } = answer.parse(JSON.parse((await lines.next()).value ?? '{}'))
        if (code !== 0) throw new Error(`aws ${args.join(' ')}: ${output}`)
      }
    },
    async stop() {
      child.stdin.end()
      await exit
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Reads the words of each command: each ends with a NUL, and a command with an empty word. */
function wordsOf(text: string): string[][] {
  const commands: string[][] = [[]]
  for (const word of text.split('\0').slice(0, -1))
    if (word === '') commands.push([])
    else commands.at(-1)?.push(word)
  return commands.slice(0, -1)
}
