/** A quoted string; one that is left open ends with the header. */
const QUOTED = /"(?:[^"\\]|\\.?)*"?/g

/**
 * Returns the media type that an `Accept` header prefers (RFC 9110, section 12.5.1). Parameters other than the weight are
 * ignored, because the available types have none that a client could mean.
 * @param types the available types; the first one is returned if the header accepts none of them, or all alike
 */
export function preferredType<Type extends string>(
  accept: string | undefined,
  types: readonly [Type, ...Type[]],
): Type {
  const ranges = (accept ?? '').replaceAll(QUOTED, '').toLowerCase().split(',').map(readRange)
  const offers = types.flatMap((type) => {
    // The most specific range decides.
    const levels = [type, type.replace(/\/.*/, '/*'), '*/*']
    const [best] = ranges
      .map((range) => ({ type, ...range, level: levels.indexOf(range.name) }))
      .filter(({ level }) => level !== -1)
      .sort((a, b) => a.level - b.level || b.weight - a.weight)
    return best !== undefined && best.weight > 0 ? [best] : []
  })
  const [first] = offers.sort((a, b) => b.weight - a.weight || a.level - b.level || a.position - b.position)
  return first?.type ?? types[0]
}

function readRange(element: string, position: number) {
  const [name = '', ...parameters] = element.split(';').map((part) => part.trim())
  const weight = parameters.find((one) => one.startsWith('q='))?.slice(2) ?? 1
  return { name, weight: Number(weight) || 0, position }
}
