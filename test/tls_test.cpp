// TLS over loopback, with a certificate that is made here.
#include <leat/asio/net.hpp>
#include <leat/asio/net/tls.hpp>
#include <leat/leat.hpp>

#include <asio/local/connect_pair.hpp>
#include <doctest/doctest.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "support/net.hpp"
#include "support/scale.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <unistd.h>
#include <utility>

namespace {

using namespace std::chrono_literals;
namespace net = leat::net;
using test::dial;
using test::failure_of;
using test::loopback;
using test::two_workers;
using tls_stream = net::stream<net::tls_socket<>>;

template <class T, void (*Free)(T*)>
struct freed {
    void operator()(T* object) const
    {
        Free(object);
    }
};
using key_owner = std::unique_ptr<EVP_PKEY, freed<EVP_PKEY, EVP_PKEY_free>>;
using certificate_owner = std::unique_ptr<X509, freed<X509, X509_free>>;

/// Signs for itself, for localhost and 127.0.0.1.
struct identity {
    identity() : key{EVP_EC_gen("P-256")}, certificate{X509_new()}
    {
        X509* const made = certificate.get();
        X509_set_version(made, 2);
        ASN1_INTEGER_set(X509_get_serialNumber(made), 1);
        X509_gmtime_adj(X509_getm_notBefore(made), -3600);
        X509_gmtime_adj(X509_getm_notAfter(made), 3600);
        X509_set_pubkey(made, key.get());
        X509_NAME* const name = X509_get_subject_name(made);
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("a test"),
                                   -1, -1, 0);
        X509_set_issuer_name(made, name);
        X509_EXTENSION* const names =
            X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
        X509_add_ext(made, names, -1);
        X509_EXTENSION_free(names);
        X509_sign(made, key.get(), EVP_sha256());
    }
    net::tls_context server() const
    {
        net::tls_context with{net::tls_context::tls_server};
        SSL_CTX_use_certificate(with.native_handle(), certificate.get());
        SSL_CTX_use_PrivateKey(with.native_handle(), key.get());
        return with;
    }
    net::tls_context client() const
    {
        net::tls_context with{net::tls_context::tls_client};
        X509_STORE_add_cert(SSL_CTX_get_cert_store(with.native_handle()), certificate.get());
        with.set_verify_mode(asio::ssl::verify_peer);
        return with;
    }
    key_owner key;
    certificate_owner certificate;
};

const identity& ours()
{
    static const identity made;
    return made;
}

/// A file that openssl reads, as long as this lives.
class certificate_file {
public:
    certificate_file()
    {
        const int made = ::mkstemp(path_.data());
        REQUIRE(made >= 0);
        std::FILE* const file = ::fdopen(made, "w");
        PEM_write_X509(file, ours().certificate.get());
        std::fclose(file);
    }
    certificate_file(const certificate_file&) = delete;
    certificate_file& operator=(const certificate_file&) = delete;
    ~certificate_file()
    {
        ::unlink(path_.c_str());
    }
    const std::string& path() const noexcept
    {
        return path_;
    }

private:
    std::string path_ = "/tmp/leat_tls_test_XXXXXX";
};

/// Runs a command of the shell. Result: its status, and what it has printed.
std::pair<int, std::string> shell(const std::string& command)
{
    std::FILE* const pipe = ::popen(command.c_str(), "r");
    std::string text;
    std::array<char, 4096> piece{};
    while (const std::size_t got = std::fread(piece.data(), 1, piece.size(), pipe))
        text.append(piece.data(), got);
    return {::pclose(pipe), text};
}

/// Both ends of a connection.
struct ends {
    ends() : near{ours().client()}, far{ours().server()}
    {
    }
    /// To an acceptor of this executor.
    leat::task<> meet(std::string name = "localhost")
    {
        net::acceptor acceptor = net::listen(leat::this_task::executor(), loopback());
        const auto at = acceptor.local_endpoint();
        auto accepting = [&]() -> leat::task<net::tls_socket<>> {
            net::socket peer = co_await acceptor.async_accept();
            co_return co_await net::tls_accept(far, std::move(peer));
        };
        auto dialling = [&]() -> leat::task<net::tls_socket<>> {
            net::socket peer = co_await dial(at);
            co_return co_await net::tls_over(near, std::move(peer), name);
        };
        auto [a, b] = co_await leat::when_all(accepting(), dialling());
        server.emplace(std::move(a));
        client.emplace(std::move(b));
    }
    net::tls_context near;
    net::tls_context far;
    std::optional<tls_stream> server;
    std::optional<tls_stream> client;
};

}  // namespace

TEST_SUITE("tls")
{
    TEST_CASE("lines there and back, and an end that both have announced")
    {
        leat::runtime pool{two_workers()};
        auto body = []() -> leat::task<> {
            ends both;
            co_await both.meet();
            co_await both.client->write("hello\n");
            auto line = co_await both.server->read_line();
            CHECK(*line == "hello");
            co_await both.server->write("and you\n");
            line = co_await both.client->read_line();
            CHECK(*line == "and you");
            auto closing = [](tls_stream& which) -> leat::task<> { co_await which.close(1min); };
            auto reading = [](tls_stream& which) -> leat::task<> {
                auto end = co_await which.read_line();
                CHECK_FALSE(end.has_value());
                co_await which.close(1min);
            };
            co_await leat::when_all(closing(*both.client), reading(*both.server));
        };
        pool.block_on(body());
    }

    TEST_CASE("a reader and writers on several workers, in both directions at once")
    {
        leat::runtime pool{two_workers()};
        constexpr int lines = static_cast<int>(test::scaled(1000));
        auto talk = [](tls_stream& peer) -> leat::task<> {
            co_await leat::with_group([&](leat::task_group& group) -> leat::task<> {
                for (int w = 0; w < 3; ++w)
                    co_await group.spawn([&, w]() -> leat::task<> {
                        for (int i = 0; i < lines; ++i) {
                            const std::string line = std::to_string(w) + " " + std::to_string(i) + "\n";
                            co_await peer.write(line);
                        }
                    });
                std::array<int, 3> next{};
                for (int i = 0; i < 3 * lines; ++i) {
                    auto line = co_await peer.read_line();
                    const auto w = static_cast<std::size_t>((*line)[0] - '0');
                    if (*line != std::to_string(w) + " " + std::to_string(next[w]++))
                        FAIL("mixed: " << *line);
                }
            });
        };
        auto body = [&]() -> leat::task<> {
            ends both;
            co_await both.meet();
            co_await leat::when_all(talk(*both.client), talk(*both.server));
        };
        pool.block_on(body());
    }

    TEST_CASE("a certificate for another host, and one that nobody has signed, are refused")
    {
        leat::runtime pool{two_workers()};
        auto body = []() -> leat::task<> {
            {
                ends both;
                co_await both.meet("127.0.0.1");
            }
            {
                ends both;
                const auto why = co_await failure_of(both.meet("example.org"));
                CHECK(why);
            }
            ends both;
            both.near = net::tls_context{net::tls_context::tls_client};
            both.near.set_verify_mode(asio::ssl::verify_peer);
            const auto why = co_await failure_of(both.meet());
            CHECK(why);
        };
        pool.block_on(body());
    }

    TEST_CASE(
        "a handshake with a silent peer ends by its limit, and with one that talks nonsense by an error")
    {
        leat::runtime pool{two_workers()};
        auto body = []() -> leat::task<> {
            const auto here = leat::this_task::executor();
            net::tls_context with = ours().server();
            net::socket silent{here};
            net::acceptor acceptor = net::listen(here, loopback());
            co_await silent.async_connect(acceptor.local_endpoint());
            net::socket peer = co_await acceptor.async_accept();
            auto why = co_await failure_of(net::tls_accept(with, std::move(peer), 20ms));
            CHECK(why == leat::errc::deadline_exceeded);

            net::socket odd{here};
            co_await odd.async_connect(acceptor.local_endpoint());
            net::socket other = co_await acceptor.async_accept();
            static_cast<void>(co_await net::write_all(odd, asio::buffer("GET / HTTP/1.0\r\n\r\n", 18)));
            why = co_await failure_of(net::tls_accept(with, std::move(other)));
            CHECK(why);
            CHECK(why != leat::errc::deadline_exceeded);
        };
        pool.block_on(body());
    }

    TEST_CASE("a read that is cancelled loses nothing; a write that is cancelled is the last")
    {
        leat::runtime pool{two_workers()};
        auto body = []() -> leat::task<> {
            ends both;
            co_await both.meet();
            for (int i = 0; i < 50; ++i) {
                // Now and then the two meet.
                auto writing = leat::spawn(both.server->write("some of "));
                static_cast<void>(co_await leat::as_result(
                    leat::timeout(std::chrono::microseconds{i * 10}, both.client->read_line())));
                co_await writing;
            }
            co_await both.server->write("a line\n");
            auto line = co_await both.client->read_line();
            std::string wanted;
            for (int i = 0; i < 50; ++i)
                wanted += "some of ";
            CHECK(*line == wanted + "a line");

            const std::string much(1 << 20, 'x');
            std::error_code why;
            while (!why)
                why = co_await failure_of(leat::timeout(20ms, both.server->write(much)));
            CHECK(why == leat::errc::deadline_exceeded);
            why = co_await failure_of(both.server->write("more"));
            CHECK(why == net::errc::broken);
        };
        pool.block_on(body());
    }

    TEST_CASE("an end that was not announced is an error, and counts as a disconnection")
    {
        leat::runtime pool{two_workers()};
        auto body = []() -> leat::task<> {
            ends both;
            co_await both.meet();
            co_await both.client->write("half a li");
            both.client->next_layer().lowest_layer().shutdown(asio::socket_base::shutdown_send);
            const auto why = co_await failure_of(both.server->read_line());
            CHECK(why == net::errc::truncated);
            CHECK(net::is_disconnect(why));
        };
        pool.block_on(body());
    }

    TEST_CASE("closing a connection whose peer says nothing ends by its limit")
    {
        leat::runtime pool{two_workers()};
        auto body = []() -> leat::task<> {
            ends both;
            co_await both.meet();
            co_await both.client->close(20ms);
            CHECK_FALSE(both.client->next_layer().lowest_layer().is_open());
        };
        pool.block_on(body());
    }

    TEST_CASE("listen_and_serve and tls_connect")
    {
        leat::runtime pool{two_workers()};
        auto body = []() -> leat::task<> {
            net::tls_context with = ours().server();
            net::tls_context trusting = ours().client();
            net::acceptor acceptor = net::listen(leat::this_task::executor(), loopback());
            const auto port = std::to_string(acceptor.local_endpoint().port());
            auto handler = [&](net::socket accepted) -> leat::task<> {
                tls_stream peer{co_await net::tls_accept(with, std::move(accepted))};
                while (auto line = co_await peer.read_line())
                    co_await peer.write(*line, "\n");
                co_await peer.close();
            };
            auto serving = leat::spawn(leat::listen_and_serve(acceptor, handler));
            tls_stream peer{co_await net::tls_connect(trusting, "localhost", port)};
            co_await peer.write("over TLS\n");
            auto line = co_await peer.read_line();
            CHECK(*line == "over TLS");
            co_await peer.close();
            serving.cancel();
            static_cast<void>(co_await leat::as_result(serving));
        };
        pool.block_on(body());
    }

    TEST_CASE("openssl s_client talks to a service, in either version of the protocol")
    {
        if (shell("command -v openssl").first != 0) {
            MESSAGE("there is no openssl");
            return;
        }
        const certificate_file trusted;
        leat::runtime pool{two_workers()};
        auto body = [&]() -> leat::task<> {
            net::tls_context with = ours().server();
            net::acceptor acceptor = net::listen(leat::this_task::executor(), loopback());
            auto handler = [&](net::socket accepted) -> leat::task<> {
                tls_stream peer{co_await net::tls_accept(with, std::move(accepted))};
                std::optional<std::string> line;
                do {
                    line = co_await peer.read_line();
                    if (line) {
                        const std::string answer = "> " + *line + "\n";
                        co_await peer.write(answer);
                    }
                } while (line && *line != "bye");
                co_await peer.close();
            };
            auto serving = leat::spawn(leat::listen_and_serve(acceptor, handler));
            for (const char* version : {"-tls1_2", "-tls1_3"}) {
                const std::string command =
                    "printf 'hello\\nbye\\n' | openssl s_client -quiet -verify_quiet -verify_return_error " +
                    std::string{version} + " -CAfile " + trusted.path() +
                    " -verify_hostname localhost -connect 127.0.0.1:" +
                    std::to_string(acceptor.local_endpoint().port()) + " 2>/dev/null";
                const auto told = co_await leat::blocking([&] { return shell(command); });
                CHECK_MESSAGE(told.first == 0, version);
                CHECK_MESSAGE(told.second == "> hello\n> bye\n", version);
            }
            serving.cancel();
            static_cast<void>(co_await leat::as_result(serving));
        };
        pool.block_on(body());
    }
}
