#pragma once

#include <openssl/types.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace digest {

/// The sum of one message, by a hash function of OpenSSL's.
class hash {
public:
    /// Throws std::invalid_argument unless the name is sha256, sha1 or md5.
    explicit hash(std::string_view algorithm);

    void update(std::span<const std::byte> part);

    /// The sum of all parts, in lower-case hexadecimal digits. Nothing may follow.
    std::string finish();

    /// How many digits a sum has.
    std::size_t digits() const noexcept;

private:
    struct free_context {
        void operator()(EVP_MD_CTX* context) const noexcept;
    };

    const EVP_MD* function_;
    std::unique_ptr<EVP_MD_CTX, free_context> context_;
};

}  // namespace digest
