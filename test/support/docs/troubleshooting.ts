import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../../..')
/** The operators' guide. */
export const guide = readFileSync(join(root, 'docs/for-operators.md'), 'utf8')
const section = guide.match(/^## Troubleshooting\n([\s\S]*?)^## /m)?.[1] ?? ''
/** The cells of each row of the troubleshooting table. */
export const rows = [...section.matchAll(/^\|(.*)\|$/gm)]
  .slice(2)
  .map(([, row = '']) => row.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll('\\|', '|')))

/** The code spans of the table, and the lines of the code block above it, without their comments. */
export const spans = [
  ...rows.flat().flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, span = '']) => span)),
  ...(section.match(/```sh\n([\s\S]*?)```/)?.[1] ?? '').split('\n').map((line) => line.replace(/\s+#.*/, '')),
]
/** The commands among {@link spans}, without the container in which it runs. */
export const commands = spans.flatMap((span) => {
  const inside = span.match(/^docker exec firstkey (.*)/)?.[1] ?? span
  return /^(firstkey|aws|docker|curl|printenv|df|node) /.test(inside) ? [inside] : []
})
