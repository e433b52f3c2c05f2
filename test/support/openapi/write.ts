// npm run openapi: writes docs/openapi.json, which a test compares with the document of the service.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openapiText } from './document.ts'

writeFileSync(join(import.meta.dirname, '../../../docs/openapi.json'), await openapiText())
