// npm run docs: writes the generated parts of docs/. `npm test` fails where they are outdated.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { trustJsonSchema } from '../../../src/auth/federation/trust-schema.ts'
import { withLifecycleSection } from './lifecycle-section.ts'
import { withPolicySection } from './policy-section.ts'
import { withVariablesSection } from './variables-section.ts'

const docs = join(import.meta.dirname, '../../../docs')

function rewrite(name: string, change: (document: string) => string): void {
  const file = join(docs, name)
  writeFileSync(file, change(readFileSync(file, 'utf8')))
}

rewrite('architecture.md', withLifecycleSection)
rewrite('for-operators.md', withVariablesSection)
rewrite('for-operators.md', withPolicySection)
writeFileSync(join(docs, 'trust-file.schema.json'), `${JSON.stringify(trustJsonSchema(), null, 2)}\n`)
await import('../openapi/write.ts')
