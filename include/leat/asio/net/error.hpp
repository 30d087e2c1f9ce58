// What goes wrong with connections beyond what the system says.
#pragma once

#include <system_error>
#include <type_traits>

namespace leat::net {

/// Codes of category `leat.net`. Those with a relative in std::errc compare equal to it.
enum class errc {
    too_long = 1,  ///< a line, frame or buffer would exceed its limit (std::errc::message_size)
    truncated,     ///< the peer closed in the middle of a line or frame (std::errc::connection_aborted)
    broken,        ///< an earlier write was cut short, so that nothing can follow it (std::errc::broken_pipe)
    peer_gone,     ///< the peer closed while it was being served (std::errc::connection_aborted)
    no_address,    ///< a name without an address to connect to (std::errc::address_not_available)
};

const std::error_category& error_category() noexcept;

inline std::error_code make_error_code(errc code) noexcept
{
    return {static_cast<int>(code), error_category()};
}

/// Whether a failure only says that the other side has gone: end of file, a reset, a broken pipe, and the codes
/// above that mean the same. The connection is over, and nobody is to blame.
bool is_disconnect(const std::error_code& why) noexcept;

}  // namespace leat::net

template <>
struct std::is_error_code_enum<leat::net::errc> : std::true_type {};
