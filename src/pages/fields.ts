import type { OpenAPIV3_1 } from 'openapi-types'

type Schema = OpenAPIV3_1.SchemaObject

/** One value of a JSON document, by its path in it: `management.token`, `days[].used`. */
export interface Field {
  readonly path: string
  /** As a person reads it: `string, date-time, or null`. */
  readonly type: string
  readonly isRequired: boolean
  readonly description: string
}

/** Finds what a `$ref` of the document names; what is no reference is answered as it is. */
export type Resolve = <T extends object>(value: T | OpenAPIV3_1.ReferenceObject) => T

/** The fields of an object's schema, those of objects in it below it. Anything else has none. */
export function fieldsOf(
  schema: Schema | OpenAPIV3_1.ReferenceObject | undefined,
  resolve: Resolve,
): Field[] {
  if (schema === undefined) return []
  const { schema: object } = withoutNull(resolve(schema), resolve)
  return Object.entries(object.properties ?? {}).flatMap(([name, value]) => {
    const property = resolve<Schema>(value)
    const { schema: own, isNullable } = withoutNull(property, resolve)
    const items = own.type === 'array' ? resolve<Schema>(own.items) : undefined
    const field = {
      path: name,
      type: [describeType(own, resolve), ...(isNullable ? ['or null'] : [])].join(', '),
      isRequired: object.required?.includes(name) ?? false,
      description: property.description ?? own.description ?? '',
    }
    const below = fieldsOf(items ?? own, resolve).map((one) => ({
      ...one,
      path: `${name}${items === undefined ? '' : '[]'}.${one.path}`,
    }))
    return [field, ...below]
  })
}

/** `null` as one of the types, or as one of `anyOf`, is said in a word; what is left is the type itself. */
function withoutNull(schema: Schema, resolve: Resolve): { schema: Schema; isNullable: boolean } {
  const choices = schema.anyOf?.map((one) => resolve<Schema>(one))
  const [other, ...more] = choices?.filter(({ type }) => type !== 'null') ?? []
  if (other === undefined || more.length > 0) return { schema, isNullable: false }
  return { schema: other, isNullable: choices?.some(({ type }) => type === 'null') ?? false }
}

/** The type of a schema in words, with its bounds. */
export function describeType(schema: Schema, resolve: Resolve): string {
  const { type, format, enum: values, minimum, maximum, minLength, maxLength } = schema
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  if (values !== undefined) return values.map((value) => JSON.stringify(value)).join(' or ')
  if (schema.type === 'array') return `array of ${describeType(resolve<Schema>(schema.items), resolve)}s`
  const range = describeRange(type === 'string' ? [minLength, maxLength] : [minimum, maximum])
  return [
    String(type ?? 'any'),
    ...(format === undefined ? [] : [format]),
    ...(range === '' ? [] : [type === 'string' ? `${range} characters` : range]),
  ].join(', ')
}

function describeRange([least, most]: [number | undefined, number | undefined]): string {
  const isBound = (bound: number | undefined) =>
    bound !== undefined && Math.abs(bound) < Number.MAX_SAFE_INTEGER
  if (isBound(least) && isBound(most)) return `${least} to ${most}`
  if (isBound(most)) return `at most ${most}`
  return ''
}
