import { type Operation, on } from '../operation.ts'

export const accountOperations = {
  GetAccount: { ...on('GET', '/account', 200), run: ({ account }) => account.settings },
} satisfies Record<string, Operation>
