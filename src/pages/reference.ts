import { html } from 'ghtml'
import type { OpenAPIV3_1 } from 'openapi-types'
import type { Resolve } from './fields.ts'
import { page } from './layout.ts'
import { headingsOf, markdown } from './markdown.ts'
import {
  COMMON_HEADERS,
  errorBodies,
  fieldItems,
  headerFields,
  type Operation,
  operationSection,
} from './operation.ts'

const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const
const OTHERS = 'Other'

/** Renders an OpenAPI 3.1 document as one page, the API reference. It needs no JavaScript. */
export function referencePage(document: OpenAPIV3_1.Document, basePath: string): string {
  const resolve = resolverOf(document)
  const { info, servers = [], tags = [], components = {} } = document
  const operations = operationsOf(document)
  const tagged = Map.groupBy(operations, (one) => one.tags?.[0] ?? OTHERS)
  const groups = [...tags, { name: OTHERS, description: '' }].flatMap(({ name, description = '' }) => {
    const own = tagged.get(name)
    return own === undefined ? [] : [{ name, description, operations: own }]
  })
  const common = headerFields(components.headers, resolve, (name) => COMMON_HEADERS.includes(name))
  return page({
    title: `API reference: ${info.title}`,
    basePath,
    main: html`
<h1>API reference</h1>
<p>Base URL: <code>${servers[0]?.url ?? ''}</code>. Also available as <a href="${basePath}/openapi.json">OpenAPI 3.1</a>.</p>
<nav aria-label="Contents" class="operations" id="operations" tabindex="-1">
<ul>
!${[...headingsOf(info.description), ...OF_ALL].map(
      ({ id, text }) => html`<li><a href="#${id}">${text}</a></li>`,
    )}
!${groups.map(
      (group) => html`<li><strong>${group.name}</strong>
<ul>
!${group.operations.map(
        ({ id, method, path, summary = '' }) =>
          html`<li><a href="#${id}"><span class="method">${method}</span> <code>${path}</code></a> ${summary}</li>`,
      )}
</ul></li>`,
    )}
</ul>
</nav>
!${markdown(info.description)}
<h2 id="error-bodies">Error response bodies</h2>
!${errorBodies(operations, resolve)}
<h2 id="common-headers">Headers of every response</h2>
!${fieldItems(common)}
!${groups.map(
      ({ name, description, operations }) => html`<h2>${name}</h2>
!${markdown(description)}
!${operations.map((one) => operationSection(one, resolve, basePath))}`,
    )}
`,
  })
}

/** The sections that apply to all operations. */
const OF_ALL = [
  { id: 'error-bodies', text: 'Error response bodies' },
  { id: 'common-headers', text: 'Headers of every response' },
]

function operationsOf({ paths = {} }: OpenAPIV3_1.Document): Operation[] {
  return Object.entries(paths).flatMap(([path, item = {}]) =>
    METHODS.flatMap((method) => {
      const operation = item[method]
      const id = operation?.operationId ?? `${method}${path}`
      return operation === undefined ? [] : [{ ...operation, method: method.toUpperCase(), path, id }]
    }),
  )
}

/** Returns a function that resolves the references of a document. It throws an Error if a target is not in the document. */
function resolverOf(document: OpenAPIV3_1.Document): Resolve {
  return <T extends object>(value: T | OpenAPIV3_1.ReferenceObject): T => {
    if (!('$ref' in value) || typeof value.$ref !== 'string') return value as T
    let found: unknown = document
    for (const name of value.$ref.split('/').slice(1))
      found = (found as Record<string, unknown> | undefined)?.[
        name.replaceAll('~1', '/').replaceAll('~0', '~')
      ]
    if (typeof found !== 'object' || found === null) throw new Error(`${value.$ref} is not in the document`)
    return found as T
  }
}
