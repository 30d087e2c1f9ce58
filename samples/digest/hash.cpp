#include "hash.hpp"

#include <openssl/evp.h>

#include <array>
#include <new>
#include <span>
#include <stdexcept>

namespace digest {
namespace {

const EVP_MD* function_named(std::string_view name)
{
    if (name == "sha256")
        return EVP_sha256();
    if (name == "sha1")
        return EVP_sha1();
    if (name == "md5")
        return EVP_md5();
    throw std::invalid_argument{"unknown algorithm " + std::string{name}};
}

void must(int succeeded)
{
    if (succeeded != 1)
        throw std::runtime_error{"OpenSSL does not offer this algorithm here"};
}

}  // namespace

void hash::free_context::operator()(EVP_MD_CTX* context) const noexcept
{
    EVP_MD_CTX_free(context);
}

hash::hash(std::string_view algorithm) : function_{function_named(algorithm)}, context_{EVP_MD_CTX_new()}
{
    if (!context_)
        throw std::bad_alloc{};
    must(EVP_DigestInit_ex(context_.get(), function_, nullptr));
}

void hash::update(std::span<const std::byte> part)
{
    must(EVP_DigestUpdate(context_.get(), part.data(), part.size()));
}

std::string hash::finish()
{
    std::array<unsigned char, EVP_MAX_MD_SIZE> sum;
    unsigned size = 0;
    must(EVP_DigestFinal_ex(context_.get(), sum.data(), &size));

    constexpr std::string_view digit = "0123456789abcdef";
    std::string text;
    for (const unsigned char byte : std::span{sum}.first(size)) {
        text += digit[byte >> 4];
        text += digit[byte & 15];
    }
    return text;
}

std::size_t hash::digits() const noexcept
{
    return 2 * static_cast<std::size_t>(EVP_MD_get_size(function_));
}

}  // namespace digest
