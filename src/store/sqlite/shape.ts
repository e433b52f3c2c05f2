import { DatabaseSync } from 'node:sqlite'

const TABLES = `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`
const COLUMNS = 'SELECT name, type, "notnull" AS required, pk FROM pragma_table_info(?)'
const OTHERS = `SELECT type || ' ' || name AS part FROM sqlite_schema WHERE type <> 'table' AND name NOT LIKE 'sqlite_%'`

/** Reports whether a database has tables. */
export function hasTables(db: DatabaseSync): boolean {
  return db.prepare(TABLES).get() !== undefined
}

/**
 * Compares the tables, indexes and triggers of a database with those that these statements create. Further tables, indexes
 * and triggers do no harm.
 * @returns the differences; empty: there is none
 */
export function shapeFaults(db: DatabaseSync, statements: readonly string[]): string[] {
  const model = new DatabaseSync(':memory:')
  try {
    for (const sql of statements) model.exec(sql)
    const [expected, actual] = [shapeOf(model), shapeOf(db)]
    const tables = new Set([...expected.values()].flatMap((table) => table ?? []))
    const missing = [...expected.keys()].filter((part) => !actual.has(part))
    const unknown = [...actual].filter(([part, table]) => table && tables.has(table) && !expected.has(part))
    return [...missing.map((part) => `${part} is missing`), ...unknown.map(([part]) => `${part} is unknown`)]
  } finally {
    model.close()
  }
}

/** The parts of a schema in words; of columns also their table. */
function shapeOf(db: DatabaseSync): Map<string, string | undefined> {
  const shape = new Map<string, string | undefined>()
  for (const { name: table } of db.prepare(TABLES).all())
    for (const { name, type, required, pk } of db.prepare(COLUMNS).all(String(table))) {
      const rules = `${required ? ' NOT NULL' : ''}${pk ? ' PRIMARY KEY' : ''}`
      shape.set(`column ${table}.${name} ${type}${rules}`, String(table))
    }
  for (const { part } of db.prepare(OTHERS).all()) shape.set(String(part), undefined)
  return shape
}
