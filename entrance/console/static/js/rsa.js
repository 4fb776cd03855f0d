// RSA with PKCS #1 v1.5 (RFC 8017, 7.2.1), which browsers' own cryptography has no more: for services that ask for encrypted
// passwords (``auth.login_encrypt``). The key is the base64 of a DER SubjectPublicKeyInfo.

function der(bytes, at) { // one element: [first byte of the content, byte behind it]
  let length = bytes[at + 1];
  let start = at + 2;
  if (length & 0x80) {
    const digits = length & 0x7f;
    length = 0;
    for (let i = 0; i < digits; i += 1) length = length * 256 + bytes[start + i];
    start += digits;
  }
  return [start, start + length];
}

const number = (bytes) => BigInt(`0x${[...bytes].map((b) => b.toString(16).padStart(2, "0")).join("") || "0"}`);

function publicKey(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const [info] = der(bytes, 0);
  const [, afterAlgorithm] = der(bytes, info);
  const [bits] = der(bytes, afterAlgorithm);
  const [key] = der(bytes, bits + 1); // behind the count of unused bits
  const [modulus, afterModulus] = der(bytes, key);
  const [exponent, end] = der(bytes, afterModulus);
  return { n: number(bytes.subarray(modulus, afterModulus)), e: number(bytes.subarray(exponent, end)) };
}

function power(base, exponent, modulus) {
  let result = 1n;
  for (let b = base % modulus, e = exponent; e > 0n; e >>= 1n, b = (b * b) % modulus) if (e & 1n) result = (result * b) % modulus;
  return result;
}

export function encrypted(password, key) {
  const { n, e } = publicKey(key);
  const size = Math.ceil(n.toString(16).length / 2);
  const text = new TextEncoder().encode(password);
  if (text.length > size - 11) throw new RangeError("the password is too long");
  const block = new Uint8Array(size);
  block[1] = 2;
  const padding = block.subarray(2, size - text.length - 1);
  crypto.getRandomValues(padding);
  for (let i = 0; i < padding.length; i += 1) while (padding[i] === 0) crypto.getRandomValues(padding.subarray(i, i + 1));
  block.set(text, size - text.length);
  const hex = power(number(block), e, n).toString(16).padStart(size * 2, "0");
  return btoa(String.fromCharCode(...hex.match(/../g).map((h) => parseInt(h, 16))));
}
