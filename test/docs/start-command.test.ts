import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

const read = (file: string) => readFileSync(join(import.meta.dirname, '../..', file), 'utf8')

/** The commands that start the server, but not those that only print its help. `["node", "x"]` reads as `node x`. */
function startCommands(text: string): string[] {
  const plain = text.replaceAll(/"(?:, ")?/g, ' ').replaceAll(/ +/g, ' ')
  return [...plain.matchAll(/\bnode ((?:--\S+ )*src\/start\.js)(?! --help)/g)].map(
    ([, args = '']) => `node ${args}`,
  )
}

for (const [file, count] of [
  ['Dockerfile', 2],
  ['docs/for-operators.md', 1],
  ['docs/scaling.md', 1],
] as const)
  test(`${file} starts the server with the options of npm start`, () => {
    const { scripts } = JSON.parse(read('package.json'))
    assert.deepEqual(startCommands(read(file)), Array(count).fill(scripts.start))
  })
