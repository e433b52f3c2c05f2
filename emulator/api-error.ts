/** An error response of API Gateway's control plane: status, type in `x-amzn-ErrorType`, message in the body. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly status: number
  readonly type: string
  /** Seconds, for the `Retry-After` header. */
  readonly retryAfter: number | undefined

  constructor(status: number, type: string, message: string, retryAfter?: number) {
    super(message)
    this.status = status
    this.type = type
    this.retryAfter = retryAfter
  }
}

export const badRequest = (message: string) => new ApiError(400, 'BadRequestException', message)
export const notFound = (message: string) => new ApiError(404, 'NotFoundException', message)
export const conflict = (message: string) => new ApiError(409, 'ConflictException', message)
export const tooManyRequests = (retryAfter: number) =>
  new ApiError(429, 'TooManyRequestsException', 'Too Many Requests', retryAfter)
export const concurrentChange = () =>
  conflict('Unable to complete operation due to concurrent modification. Please try again later.')
