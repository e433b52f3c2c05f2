/** What the service needs of a logger; pino and Fastify's request loggers have it. */
export interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}
