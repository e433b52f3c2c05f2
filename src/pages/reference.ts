import { html } from 'ghtml'
import { marked } from 'marked'
import type { OpenAPIV3_1 } from 'openapi-types'
import { describeType, type Field, fieldsOf, type Resolve } from './fields.ts'
import { page } from './layout.ts'

type Media = OpenAPIV3_1.MediaTypeObject
type Response = OpenAPIV3_1.ResponseObject
type Parameter = OpenAPIV3_1.ParameterObject

interface Operation extends OpenAPIV3_1.OperationObject {
  readonly method: string
  readonly path: string
  readonly id: string
}

const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const
const OTHERS = 'Other'

/** The API reference: an OpenAPI 3.1 document as one page, readable without any script. */
export function referencePage(document: OpenAPIV3_1.Document, basePath: string): string {
  const resolve = resolverOf(document)
  const operations = operationsOf(document)
  const tagged = Map.groupBy(operations, ({ tags }) => tags?.[0] ?? OTHERS)
  const tags = [...(document.tags ?? []), { name: OTHERS }].filter(({ name }) => tagged.has(name))
  return page({
    title: `API reference: ${document.info.title}`,
    basePath,
    main: html`
<h1>API reference</h1>
<p>Base URL <code>${document.servers?.[0]?.url ?? ''}</code>. The same as <a href="${basePath}/openapi.json">OpenAPI 3.1</a>.</p>
<nav aria-label="Operations" class="operations">
!${tags.map(
      ({ name }) => html`<h2>${name}</h2>
<ul>
!${(tagged.get(name) ?? []).map(
        ({ id, method, path, summary = '' }) =>
          html`<li><a href="#${id}"><span class="method">${method}</span> <code>${path}</code></a> ${summary}</li>`,
      )}
</ul>`,
    )}
</nav>
!${markdown(document.info.description)}
!${tags.map(
      ({ name, description }) => html`<h2>${name}</h2>
!${markdown(description)}
!${(tagged.get(name) ?? []).map((one) => operationSection(one, resolve, basePath))}`,
    )}
`,
  })
}

function operationsOf({ paths = {} }: OpenAPIV3_1.Document): Operation[] {
  return Object.entries(paths).flatMap(([path, item = {}]) =>
    METHODS.flatMap((method) => {
      const operation = item[method]
      const id = operation?.operationId ?? `${method}${path}`
      return operation === undefined ? [] : [{ ...operation, method: method.toUpperCase(), path, id }]
    }),
  )
}

/** @throws Error for a reference that leads nowhere, or out of the document */
function resolverOf(document: OpenAPIV3_1.Document): Resolve {
  return <T extends object>(value: T | OpenAPIV3_1.ReferenceObject): T => {
    if (!('$ref' in value) || typeof value.$ref !== 'string') return value as T
    let found: unknown = document
    for (const name of value.$ref.split('/').slice(1))
      found = (found as Record<string, unknown> | undefined)?.[
        name.replaceAll('~1', '/').replaceAll('~0', '~')
      ]
    if (typeof found !== 'object' || found === null) throw new Error(`${value.$ref} leads nowhere`)
    return found as T
  }
}

function operationSection(operation: Operation, resolve: Resolve, basePath: string): string {
  const { id, method, path, summary = '', description, parameters = [], requestBody, responses } = operation
  const body = requestBody && resolve<OpenAPIV3_1.RequestBodyObject>(requestBody)
  const answers = Object.entries(responses ?? {}).map(
    ([status, response]) => [status, resolve<Response>(response)] as const,
  )
  const isError = ([status]: readonly [string, Response]) => Number(status) >= 400
  return html`<section class="operation" id="${id}" aria-labelledby="${id}-title">
<h3 id="${id}-title"><span class="method">${method}</span> <code>${path}</code></h3>
<p><strong>${summary}.</strong></p>
!${markdown(description)}
<p>Credentials: ${credentialsOf(operation)}.</p>
!${fieldList(
    'Parameters',
    parameters.map((one) => parameterField(resolve<Parameter>(one), resolve)),
  )}
!${body === undefined ? '' : contentOf('Request body', body.content, resolve)}
!${answers.filter((one) => !isError(one)).map(([status, response]) => answerPart(status, response, resolve))}
<h4>Errors</h4>
<dl class="errors">
!${answers.filter(isError).map(([status, response]) => errorItem(status, response, resolve, basePath))}
</dl>
</section>`
}

const CREDENTIALS: Record<string, string> = {
  bootstrapToken: 'a bootstrap token (fkb_…)',
  managementToken: 'the management token of the registration (fkm_…)',
}

function credentialsOf({ security = [] }: Operation): string {
  const names = security.flatMap((one) => Object.keys(one)).map((name) => CREDENTIALS[name] ?? name)
  return names.length === 0 ? 'none' : names.join(' or ')
}

function parameterField(parameter: Parameter, resolve: Resolve): Field {
  const { name, in: place, required = false, schema, description = '' } = parameter
  const type =
    schema === undefined ? 'string' : describeType(resolve<OpenAPIV3_1.SchemaObject>(schema), resolve)
  return { path: name, type: `${place}, ${type}`, isRequired: required, description }
}

function answerPart(
  status: string,
  { description, content = {}, headers = {} }: Response,
  resolve: Resolve,
): string {
  const fields = Object.entries(headers).map(([name, value]) => {
    const { description = '' } = resolve<OpenAPIV3_1.HeaderObject>(value)
    return { path: name, type: 'header', isRequired: false, description }
  })
  return html`!${contentOf(`Answer ${status}`, content, resolve, description)}
!${fieldList(`Headers of the answer ${status}`, fields)}`
}

function contentOf(
  title: string,
  content: Record<string, Media>,
  resolve: Resolve,
  description?: string,
): string {
  return html`<h4>${title}</h4>
!${markdown(description)}
!${Object.entries(content).map(
    ([type, { schema, ...media }]) => html`<p><code>${type}</code></p>
!${fieldItems(fieldsOf(schema, resolve))}
!${exampleOf(media, resolve)}`,
  )}`
}

function exampleOf({ example, examples = {} }: Omit<Media, 'schema'>, resolve: Resolve): string {
  const [first] = Object.values(examples)
  const value = example ?? (first && resolve<OpenAPIV3_1.ExampleObject>(first).value)
  if (value === undefined) return ''
  return html`<pre><code>${typeof value === 'string' ? value : JSON.stringify(value, null, 2)}</code></pre>`
}

/** An error as its codes, each with its page; the body is always the same. */
function errorItem(status: string, response: Response, resolve: Resolve, basePath: string): string {
  const [media = {}] = Object.values(response.content ?? {})
  const codes = Object.entries(media.examples ?? {}).map(
    ([code, example]) => [code, resolve<OpenAPIV3_1.ExampleObject>(example).summary ?? ''] as const,
  )
  return html`<dt>${status}</dt>
!${codes.map(
    ([code, summary]) =>
      html`<dd><a href="${basePath}/problems/${code}"><code>${code}</code></a> ${summary}</dd>`,
  )}`
}

function fieldList(title: string, fields: readonly Field[]): string {
  return fields.length === 0 ? '' : html`<h4>${title}</h4>!${fieldItems(fields)}`
}

function fieldItems(fields: readonly Field[]): string {
  if (fields.length === 0) return ''
  return html`<dl class="fields">
!${fields.map(
    ({ path, type, isRequired, description }) =>
      html`<dt><code>${path}</code> <span class="type">${type}${isRequired ? ', required' : ''}</span></dt>
<dd>!${inlineMarkdown(description)}</dd>`,
  )}
</dl>`
}

/** The document's own text, which nobody outside the project writes, as HTML. */
function markdown(text = ''): string {
  return marked.parse(text, { async: false })
}

function inlineMarkdown(text: string): string {
  return marked.parseInline(text, { async: false })
}
