import { html } from 'ghtml'
import type { OpenAPIV3_1 } from 'openapi-types'
import { z } from 'zod'
import { describeType, type Field, fieldsOf, type Resolve } from './fields.ts'
import { inlineMarkdown, markdown } from './markdown.ts'

type Response = OpenAPIV3_1.ResponseObject
type Schema = OpenAPIV3_1.SchemaObject

/** An operation of an OpenAPI document, with its method and path. */
export interface Operation extends OpenAPIV3_1.OperationObject {
  readonly method: string
  readonly path: string
  readonly id: string
}

/** Headers that are described once, for all responses. */
export const COMMON_HEADERS: readonly string[] = ['X-Request-Id', 'RateLimit-Policy', 'RateLimit']

/** Renders an operation as a section of the page: its parameters, request body, responses and errors. */
export function operationSection(operation: Operation, resolve: Resolve, basePath: string): string {
  const { id, method, path, summary = '', description, parameters = [], requestBody, responses } = operation
  const body = requestBody && resolve<OpenAPIV3_1.RequestBodyObject>(requestBody)
  const answers = Object.entries(responses ?? {}).map(
    ([status, response]) => [status, resolve<Response>(response)] as const,
  )
  const fields = parameters.map((one) => parameterField(resolve<OpenAPIV3_1.ParameterObject>(one), resolve))
  return html`<section class="operation" id="${id}" aria-labelledby="${id}-title">
<h3 id="${id}-title"><span class="method">${method}</span> <code>${path}</code></h3>
<p><strong>${summary}.</strong></p>
!${markdown(description)}
<p>Credentials: ${credentialsOf(operation)}.</p>
!${fieldList('Parameters', fields)}
!${body === undefined ? '' : bodyPart(`Request body${body.required ? '' : ' (optional)'}`, body, resolve)}
!${answers.filter((one) => !isError(one)).map(([status, response]) => answerPart(status, response, resolve))}
<h4>Errors</h4>
<dl class="errors">
!${answers.filter(isError).map(([status, response]) => errorItem(status, response, resolve, basePath))}
</dl>
<p><a class="back" href="#operations">Back to the list</a></p>
</section>`
}

const isError = ([status]: readonly [string, Response]) => Number(status) >= 400

/** Renders the schemas of the error responses of these operations, each once. */
export function errorBodies(operations: readonly Operation[], resolve: Resolve): string {
  const bodies = new Map<string, string>()
  for (const { responses } of operations)
    for (const [status, response] of Object.entries(responses ?? {})) {
      if (Number(status) < 400) continue
      for (const [type, { schema }] of Object.entries(resolve<Response>(response).content ?? {}))
        if (schema && '$ref' in schema && schema.$ref !== undefined) bodies.set(schema.$ref, type)
    }
  return html`!${[...bodies].map(
    ([$ref, type]) => html`<h3>${$ref.split('/').at(-1)}</h3>
<p><code>${type}</code></p>
!${fieldItems(fieldsOf({ $ref }, resolve))}`,
  )}`
}

const CREDENTIALS: Record<string, string> = {
  bootstrapToken: 'a bootstrap token (fkb_…)',
  identityToken: 'an identity token (JWT)',
  managementToken: 'the management token of the registration (fkm_…)',
}

function credentialsOf({ security = [] }: Operation): string {
  const names = security.flatMap((one) => Object.keys(one)).map((name) => CREDENTIALS[name] ?? name)
  return names.length === 0 ? 'none' : names.join(' or ')
}

function parameterField(
  { name, in: place, required = false, schema, description = '' }: OpenAPIV3_1.ParameterObject,
  resolve: Resolve,
): Field {
  const type = schema === undefined ? 'string' : describeType(resolve<Schema>(schema), resolve)
  return { path: name, type: `${place}, ${type}`, isRequired: required, description }
}

function answerPart(status: string, response: Response, resolve: Resolve): string {
  return html`!${bodyPart(`Response ${status}`, response, resolve)}
!${fieldList(`Headers of response ${status}`, headerFields(response.headers, resolve))}`
}

/** Lists the headers of a response. @param isShown by default, leaves out {@link COMMON_HEADERS} */
export function headerFields(
  headers: OpenAPIV3_1.ResponseObject['headers'] = {},
  resolve: Resolve,
  isShown = (name: string) => !COMMON_HEADERS.includes(name),
): Field[] {
  return Object.entries(headers)
    .filter(([name]) => isShown(name))
    .map(([name, value]) => {
      const { description = '' } = resolve<OpenAPIV3_1.HeaderObject>(value)
      return { path: name, type: 'header', isRequired: false, description }
    })
}

function bodyPart(
  title: string,
  { description, content = {} }: Pick<Response, 'content'> & { description?: string },
  resolve: Resolve,
): string {
  return html`<h4>${title}</h4>
!${markdown(description)}
!${Object.entries(content).map(
    ([type, { schema, ...media }]) => html`<p><code>${type}</code></p>
!${fieldItems(fieldsOf(schema, resolve))}
!${exampleOf(media, resolve)}`,
  )}`
}

function exampleOf({ example, examples = {} }: OpenAPIV3_1.MediaTypeObject, resolve: Resolve): string {
  const [first] = Object.values(examples)
  const value = example ?? (first && resolve<OpenAPIV3_1.ExampleObject>(first).value)
  if (value === undefined) return ''
  return html`<pre><code>${typeof value === 'string' ? value : JSON.stringify(value, null, 2)}</code></pre>`
}

const retryableSchema = z.object({ retryable: z.literal(true) })

/** Renders the codes of an error status, each with a link to its page. */
function errorItem(status: string, response: Response, resolve: Resolve, basePath: string): string {
  const codes = Object.values(response.content ?? {})
    .flatMap(({ examples = {} }) => Object.entries(examples))
    .map(([code, example]) => ({ code, ...resolve<OpenAPIV3_1.ExampleObject>(example) }))
  const unique = new Map(codes.map((one) => [one.code, one]))
  return html`<dt>${status}</dt>
!${[...unique.values()].map(
    ({ code, summary, value }) =>
      html`<dd><a href="${basePath}/problems/${code}"><code>${code}</code></a>
${summary}${retryableSchema.safeParse(value).success ? '; retryable' : ''}</dd>`,
  )}`
}

function fieldList(title: string, fields: readonly Field[]): string {
  return fields.length === 0 ? '' : html`<h4>${title}</h4>!${fieldItems(fields)}`
}

/** Renders a list of fields. Returns an empty string if there are none. */
export function fieldItems(fields: readonly Field[]): string {
  if (fields.length === 0) return ''
  return html`<dl class="fields">
!${fields.map(
    ({ path, type, isRequired, description }) =>
      html`<dt><code>${path}</code> <span class="type">${type}${isRequired ? ', required' : ''}</span></dt>
<dd>!${inlineMarkdown(description)}</dd>`,
  )}
</dl>`
}
