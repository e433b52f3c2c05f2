import { decimal, hclString } from './literals.ts'

/** An expression that is written as it is. */
export interface Expression {
  readonly expression: string
}

export type Value = string | number | boolean | Expression | null

/** A block of HCL: its type, its labels and what is in it. */
export interface Block {
  readonly type: string
  readonly labels?: readonly string[]
  readonly attributes?: Readonly<Record<string, Value>>
  readonly blocks?: readonly (Block | null)[]
}

/** Writes blocks as `terraform fmt` does. An attribute or a block that is `null` is left out. */
export function formatHcl(blocks: readonly Block[]): string {
  return blocks.map((block) => `${formatBlock(block).join('\n')}\n`).join('\n')
}

function formatBlock({ type, labels = [], attributes = {}, blocks = [] }: Block): string[] {
  const all = Object.entries(attributes)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => ({ name, text: formatValue(value) }))
  const [long, short] = [all.filter(isLong), all.filter((one) => !isLong(one))]
  const width = Math.max(...short.map(({ name }) => name.length))
  const parts = [
    short.map(({ name, text }) => `${name.padEnd(width)} = ${text}`),
    ...long.map(({ name, text }) => `${name} = ${text}`.split('\n')),
    ...blocks.map((block) => (block === null ? [] : formatBlock(block))),
  ].filter((lines) => lines.length > 0)
  const body = parts.flatMap((lines, i) => (i === 0 ? lines : ['', ...lines]))
  const indented = body.map((line) => (line === '' ? '' : `  ${line}`))
  return [`${[type, ...labels.map(hclString)].join(' ')} {`, ...indented, '}']
}

/** `terraform fmt` aligns only what is on one line. */
function isLong({ text }: { text: string }): boolean {
  return text.includes('\n')
}

function formatValue(value: Value): string {
  if (typeof value === 'string') return hclString(value)
  if (typeof value === 'number') return decimal(value)
  return typeof value === 'object' ? (value?.expression ?? 'null') : String(value)
}

/** A map of texts. */
export function hclMap(entries: Readonly<Record<string, string>>): Expression | null {
  const keys = Object.keys(entries).map(hclString)
  if (keys.length === 0) return null
  const width = Math.max(...keys.map((key) => [...key].length))
  const lines = Object.values(entries).map(
    (value, i) => `  ${(keys[i] ?? '').padEnd(width)} = ${hclString(value)}`,
  )
  return { expression: ['{', ...lines, '}'].join('\n') }
}
