// The reporter of the npm test scripts: the failures, and a summary of the rest, readable in the log of CI.
import { relative, resolve } from 'node:path'
import type { EventData } from 'node:test'
import type { TestEvent } from 'node:test/reporters'
import { inspect } from 'node:util'

/** Runs one file, with its path or options as the rest of the line. */
const repeatBy = process.env['TEST_AGAIN'] ?? 'npx node --test'

const PROGRESS_EVERY_MS = 15_000
/** A diff, or the output of a process, that is longer is cut. */
const MOST_LINES = 60

interface Failure {
  /** `test/x.test.ts:33:1  suite › test` */
  readonly title: string
  readonly repeat: string
}

/** What is known of a file that runs or has failed. */
interface OpenFile {
  /** The names of its suites and tests by id, each with its parent's. */
  readonly tests: Map<number, { name: string; parentId: number | undefined }>
  /** What its process printed, and diagnostics of the runner. */
  output: string
  hasFailed: boolean
}

/** Yields each failure as soon as it is known, a line of progress now and then, and the summary. */
export default async function* report(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const open = new Map<string, OpenFile>()
  const failures: Failure[] = []
  const skipped = new Map<string, number>()
  const files: { path: string; ms: number }[] = []
  let summary: EventData.TestSummary | undefined
  let tests = 0
  let shownAt = Date.now()
  const startedAt = shownAt

  const fileOf = (path: string): OpenFile => {
    const file = open.get(path) ?? { tests: new Map(), output: '', hasFailed: false }
    open.set(path, file)
    return file
  }

  for await (const { type, data } of events) {
    if (type === 'test:enqueue' && data.entryFile !== undefined)
      fileOf(data.entryFile).tests.set(data.testId, { name: data.name, parentId: data.parentId })
    else if (type === 'test:stdout' || type === 'test:stderr')
      fileOf(resolve(data.file)).output += data.message
    else if (type === 'test:diagnostic' && data.entryFile !== undefined)
      fileOf(data.entryFile).output += `${data.message}\n`
    else if (type === 'test:interrupted')
      for (const { file, name } of data.tests)
        yield `✖ interrupted: ${file === undefined ? name : relative('.', file)}\n`
    else if (type === 'test:complete') {
      const isFile = data.entryFile === undefined
      const path = data.entryFile ?? data.file ?? data.name
      const file = fileOf(path)
      if (data.details.type !== 'suite' && !isFile) tests += 1
      if (data.skip !== undefined) {
        const reason = typeof data.skip === 'string' ? data.skip : 'no reason given'
        skipped.set(reason, (skipped.get(reason) ?? 0) + 1)
      }
      if (hasFailed(data, isFile)) {
        file.hasFailed = true
        const failure = failureOf(data, isFile ? [] : [...ancestry(file, data.parentId), data.name], path)
        failures.push(failure)
        yield `\n✖ ${failure.title}\n${indent(reasonOf(data))}\n    ${failure.repeat}\n`
      }
      if (!isFile) continue
      files.push({ path, ms: data.details.duration_ms })
      if (!file.hasFailed) open.delete(path)
      if (Date.now() - shownAt >= PROGRESS_EVERY_MS) {
        shownAt = Date.now()
        yield `${count(files.length, 'file')}, ${count(tests, 'test')}, ${count(failures.length, 'failure')} after ${seconds(shownAt - startedAt)}\n`
      }
    } else if (type === 'test:summary' && data.file === undefined) summary = data
  }
  // The last words of a file may come after its end.
  for (const [path, { hasFailed, output }] of open)
    if (hasFailed && output.trim() !== '') yield `\noutput of ${relative('.', path)}:\n${indent(output)}\n`
  if (summary !== undefined) yield summaryOf(summary, { failures, skipped, files })
}

/** The results that are a failure of their own: neither one to do, nor the failure of a suite or file whose tests are listed. */
function hasFailed(data: EventData.TestComplete, isFile: boolean): boolean {
  if (data.details.error === undefined || (data.todo !== undefined && data.todo !== false)) return false
  const { failureType } = data.details.error as { failureType?: string }
  return failureType !== 'subtestsFailed' && !(isFile && failureType === 'cancelledByParent')
}

/** Returns the names from the outermost suite or test to this one. */
function ancestry(file: OpenFile, id: number | undefined): string[] {
  const found = id === undefined ? undefined : file.tests.get(id)
  return found === undefined ? [] : [...ancestry(file, found.parentId), found.name]
}

function failureOf(data: EventData.TestComplete, names: readonly string[], path: string): Failure {
  const file = relative('.', path)
  if (names.length === 0) return { title: file, repeat: `${repeatBy} ${file}` }
  const pattern = `^${names.join(' ').replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&')}$`
  return {
    title: `${relative('.', data.file ?? path)}:${data.line}:${data.column}  ${names.join(' › ')}`,
    repeat: `${repeatBy} --test-name-pattern='${pattern.replaceAll("'", "'\\''")}' ${file}`,
  }
}

/** Returns the message, the diff, and the stack without the frames of Node.js, of the error and of its causes. */
function reasonOf({ details: { error } }: EventData.TestComplete): string {
  const { cause, exitCode, signal } = error as { cause?: unknown; exitCode?: number; signal?: string }
  if (exitCode != null || signal != null)
    return `The file did not end well: ${signal == null ? `exit code ${exitCode}` : signal}.`
  return described(cause ?? error)
}

function described(error: unknown): string {
  if (!(error instanceof Error)) return typeof error === 'string' ? error : inspect(error)
  const text = (error.stack ?? error.message)
    .split('\n')
    .filter((line) => !/^ +at (.*\bnode:|.*\(<anonymous>\)$)/.test(line))
  const causes =
    error instanceof AggregateError ? error.errors : error.cause === undefined ? [] : [error.cause]
  return [text.join('\n').trimEnd(), ...causes.map((one) => `caused by ${described(one)}`)].join('\n')
}

function summaryOf(
  { counts, duration_ms, success }: EventData.TestSummary,
  {
    failures,
    skipped,
    files,
  }: { failures: Failure[]; skipped: Map<string, number>; files: { path: string; ms: number }[] },
): string {
  const lines = ['']
  for (const { title, repeat } of failures) lines.push(`✖ ${title}`, `    ${repeat}`)
  if (!success && failures.length === 0) lines.push('✖ the run failed, although no test did')
  const slowest = files.toSorted((a, b) => b.ms - a.ms).slice(0, 5)
  lines.push(`slowest: ${slowest.map(({ path, ms }) => `${relative('.', path)} ${seconds(ms)}`).join(', ')}`)
  for (const [reason, number] of skipped) lines.push(`skipped: ${number} × ${reason}`)
  const { tests, passed, cancelled, skipped: left, todo } = counts
  const results = { failed: tests - passed - cancelled - left - todo, cancelled, skipped: left, todo }
  const others = Object.entries(results).map(([name, number]) => (number === 0 ? '' : `, ${number} ${name}`))
  lines.push(
    `${count(tests, 'test')} in ${count(files.length, 'file')}, ${seconds(duration_ms)}: ${passed} passed${others.join('')}`,
  )
  return `${lines.join('\n')}\n`
}

function indent(text: string): string {
  const lines = text.trimEnd().split('\n')
  const cut = lines.length - MOST_LINES
  const kept =
    cut > 0 ? [...lines.slice(0, MOST_LINES / 2), `… ${cut} lines …`, ...lines.slice(-MOST_LINES / 2)] : lines
  return kept.map((line) => `    ${line}`).join('\n')
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`
const count = (number: number, noun: string) =>
  `${number.toLocaleString('en')} ${noun}${number === 1 ? '' : 's'}`
