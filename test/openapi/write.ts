// npm run openapi: writes docs/openapi.json, which a test holds against what the service says.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openapiText } from './document.ts'

writeFileSync(join(import.meta.dirname, '../../docs/openapi.json'), await openapiText())
