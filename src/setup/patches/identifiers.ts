/** Returns the words of a text in ASCII letters and digits. */
function words(text: string): string[] {
  return text
    .normalize('NFKD')
    .replaceAll(/\p{M}/gu, '')
    .split(/[^A-Za-z0-9]+/)
    .filter((word) => word !== '')
}

/** Returns a name like `GetHelloProxy` for `GET /hello/{proxy+}`. */
export function pascalCase(text: string): string {
  return words(text)
    .map(
      (word) =>
        word.charAt(0).toUpperCase() + word.slice(1).replace(/^[A-Z]+$/, (rest) => rest.toLowerCase()),
    )
    .join('')
}

/** Returns a name like `get_hello_proxy` for `GET /hello/{proxy+}`. */
export function snakeCase(text: string): string {
  return words(text).join('_').toLowerCase()
}

/** Creates a function that returns the name that is asked for, with a number if it was returned before. */
export function uniqueNames(): (wanted: string) => string {
  const used = new Set<string>()
  return (wanted) => {
    let name = wanted
    for (let count = 2; used.has(name.toLowerCase()); count++) name = `${wanted}${count}`
    used.add(name.toLowerCase())
    return name
  }
}
