/** What a caller can cause: one sentence that says what is wrong, where, and what to do. */
export class FacekdError extends Error {
  override name = 'FacekdError';
}

/** An image, a box or a setting that cannot be used. */
export class InputError extends FacekdError {
  override name = 'InputError';
}

/** A network that cannot be used. */
export class ModelError extends FacekdError {
  override name = 'ModelError';
}
