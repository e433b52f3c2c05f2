// npm run docs: writes the generated parts of docs/. `npm test` fails where they are outdated.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { withLifecycleSection } from './lifecycle-section.ts'

const architecture = join(import.meta.dirname, '../../../docs/architecture.md')
writeFileSync(architecture, withLifecycleSection(readFileSync(architecture, 'utf8')))
await import('../openapi/write.ts')
