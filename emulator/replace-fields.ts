/** Makes the fields of an object those of its changed copy, so that others who hold the object see the changes. */
export function replaceFields<T extends object>(target: T, copy: T): T {
  for (const key of Object.keys(target)) if (!(key in copy)) Reflect.deleteProperty(target, key)
  return Object.assign(target, copy)
}
