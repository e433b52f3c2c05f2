import type { OpenAPIV3_1 } from 'openapi-types'

type Schema = OpenAPIV3_1.SchemaObject

/** A value of a JSON document, named by its path: `management.token`, `days[].used`. */
export interface Field {
  readonly path: string
  /** The type in words: `string, date-time, or null`. */
  readonly type: string
  readonly isRequired: boolean
  readonly description: string
}

/** Resolves a `$ref` of the document. Returns a value that is not a reference unchanged. */
export type Resolve = <T extends object>(value: T | OpenAPIV3_1.ReferenceObject) => T

/** Lists the fields of an object's schema, each followed by the fields nested in it. Returns `[]` for other schemas. */
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
      type: [
        describeType(own, resolve),
        ...(isNullable ? ['or null'] : []),
        ...(property.default === undefined ? [] : [`default ${JSON.stringify(property.default)}`]),
      ].join(', '),
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

/** Separates `null` from the other type, where it is one of `type` or one of `anyOf`. */
function withoutNull(schema: Schema, resolve: Resolve): { schema: Schema; isNullable: boolean } {
  if (Array.isArray(schema.type)) {
    const [type, ...more] = schema.type.filter((one) => one !== 'null')
    const isNullable = schema.type.includes('null')
    // The cast holds because the document never combines `array` and its `items` with another type.
    return more.length > 0
      ? { schema, isNullable: false }
      : { schema: { ...schema, type } as Schema, isNullable }
  }
  const choices = schema.anyOf?.map((one) => resolve<Schema>(one))
  const [other, ...more] = choices?.filter(({ type }) => type !== 'null') ?? []
  if (other === undefined || more.length > 0) return { schema, isNullable: false }
  return { schema: other, isNullable: choices?.some(({ type }) => type === 'null') ?? false }
}

/** Describes the type of a schema in words, with its bounds. */
export function describeType(schema: Schema, resolve: Resolve): string {
  const { type, format, enum: values } = schema
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  if (values !== undefined) return values.map((value) => JSON.stringify(value)).join(' or ')
  const bounds = describeBounds(schema)
  if (schema.type === 'array') {
    const [item = 'any', ...details] = describeType(resolve<Schema>(schema.items), resolve).split(', ')
    return [`array of ${item}s`, ...bounds, ...details].join(', ')
  }
  return [String(type ?? 'any'), ...(format === undefined ? [] : [format]), ...bounds].join(', ')
}

function describeBounds({ minimum, maximum, minLength, maxLength, maxItems }: Schema): string[] {
  return [
    describeRange(minimum, maximum, ''),
    describeRange(minLength, maxLength, ' characters'),
    describeRange(undefined, maxItems, ' items'),
  ].flat()
}

function describeRange(least: number | undefined, most: number | undefined, unit: string): string[] {
  const isBound = (bound: number | undefined) =>
    bound !== undefined && Math.abs(bound) < Number.MAX_SAFE_INTEGER
  if (isBound(least) && isBound(most)) return [`${least} to ${most}${unit}`]
  if (isBound(most)) return [`at most ${most}${unit}`]
  return isBound(least) ? [`at least ${least}${unit}`] : []
}
