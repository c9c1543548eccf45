#include "core/hash.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <unistd.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/nearby.h"

namespace lancet {

namespace {

/// Looked up once: OpenSSL 3 takes longer to find an algorithm than to hash a short text.
const EVP_MD* sha256() {
  static const EVP_MD* const found = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  return found;
}

}  // namespace

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  bool finished = false;
  State() {
    if (context == nullptr || sha256() == nullptr ||
        EVP_DigestInit_ex(context, sha256(), nullptr) != 1) {
      EVP_MD_CTX_free(context);
      fail(ErrorKind::kResource, "sha256", "OpenSSL offers no SHA-256");
    }
  }
  ~State() { EVP_MD_CTX_free(context); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
};

Sha256::Sha256() : state_(std::make_unique<State>()) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

Sha256& Sha256::update(Bytes bytes) {
  if (state_->finished) fail(ErrorKind::kInternal, "sha256", "update after hex()");
  if (EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) != 1) {
    fail(ErrorKind::kInternal, "sha256", "EVP_DigestUpdate failed");
  }
  return *this;
}

Sha256& Sha256::update(std::string_view text) {
  return update(std::as_bytes(std::span(text.data(), text.size())));
}

std::string Sha256::hex() {
  std::array<unsigned char, 32> digest{};
  if (state_->finished || EVP_DigestFinal_ex(state_->context, digest.data(), nullptr) != 1) {
    fail(ErrorKind::kInternal, "sha256", "hex() called twice");
  }
  state_->finished = true;
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (const unsigned char byte : digest) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

Sha256 Sha256::copy() const {
  Sha256 out;
  if (state_->finished || EVP_MD_CTX_copy_ex(out.state_->context, state_->context) != 1)
    fail(ErrorKind::kInternal, "sha256", "copy() after hex()");
  return out;
}

std::string sha256_hex(Bytes bytes) { return Sha256().update(bytes).hex(); }
std::string sha256_hex(std::string_view text) { return Sha256().update(text).hex(); }

std::string sha256_file(const fs::path& path) {
  struct Descriptor {
    int fd;
    ~Descriptor() {
      if (fd >= 0) ::close(fd);
    }
  };
  const auto fail_read = [&] {
    const int error = errno;
    fail(ErrorKind::kInput, "sha256",
         fmt::format("cannot read '{}': {}", path.string(), std::strerror(error)),
         error == ENOENT ? nearby_hint(path) : "");
  };
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) fail_read();
  ::posix_fadvise(file.fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  Sha256 hash;
  std::vector<std::byte> block(1U << 20);
  while (true) {
    check_interrupted();
    const ssize_t got = ::read(file.fd, block.data(), block.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_read();
    if (got == 0) return hash.hex();
    hash.update(Bytes(block.data(), static_cast<std::size_t>(got)));
  }
}

}  // namespace lancet
