#include <leat/error.hpp>

#include <doctest/doctest.h>

#include <exception>
#include <ostream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

using leat::errc;
using leat::make_error_code;

// Running out of time is a failure, being cancelled an order: one must not be caught as the other.
static_assert(!std::is_base_of_v<leat::cancelled_error, leat::timed_out_error>);
static_assert(!std::is_base_of_v<leat::timed_out_error, leat::cancelled_error>);
static_assert(std::is_base_of_v<std::system_error, leat::cancelled_error>);
static_assert(std::is_base_of_v<std::system_error, leat::timed_out_error>);
static_assert(std::is_base_of_v<std::system_error, leat::channel_closed_error>);
static_assert(std::is_base_of_v<std::system_error, leat::deadlock_error>);
static_assert(std::is_error_code_enum_v<errc>);

TEST_CASE("error: each code equals its relative in std::errc, and no other")
{
    const std::pair<errc, std::errc> relatives[] = {
        {errc::cancelled, std::errc::operation_canceled},
        {errc::deadline_exceeded, std::errc::timed_out},
        {errc::channel_closed, std::errc::broken_pipe},
        {errc::channel_full, std::errc::resource_unavailable_try_again},
        {errc::channel_empty, std::errc::resource_unavailable_try_again},
        {errc::deadlock, std::errc::resource_deadlock_would_occur},
        {errc::broken_promise, std::errc::broken_pipe},
        {errc::rejected, std::errc::resource_unavailable_try_again},
    };
    for (const auto& [code, relative] : relatives) {
        const int number = static_cast<int>(code);
        CAPTURE(number);
        CHECK(make_error_code(code) == relative);
        CHECK((make_error_code(code) == std::errc::operation_canceled) == (code == errc::cancelled));
        CHECK((make_error_code(code) == std::errc::timed_out) == (code == errc::deadline_exceeded));
    }
    for (const errc own : {errc::failed, errc::abandoned})
        for (const auto& [code, relative] : relatives)
            CHECK(make_error_code(own) != relative);
}

TEST_CASE("error: full and empty are different codes with the same relative")
{
    CHECK(make_error_code(errc::channel_full) != make_error_code(errc::channel_empty));
}

TEST_CASE("error: every code has a category, a name and words of its own")
{
    std::vector<std::string> words;
    for (const errc code : {errc::cancelled, errc::deadline_exceeded, errc::channel_closed,
                            errc::channel_full, errc::channel_empty, errc::deadlock, errc::failed,
                            errc::abandoned, errc::broken_promise, errc::rejected}) {
        const std::error_code made = code;
        CHECK(static_cast<bool>(made));
        CHECK(std::string{made.category().name()} == "leat");
        CHECK(&made.category() == &leat::error_category());
        for (const std::string& before : words)
            CHECK(made.message() != before);
        words.push_back(made.message());
        CHECK(!made.message().empty());
    }
    CHECK(std::error_code(999, leat::error_category()).message() == "unknown leat error 999");
}

TEST_CASE("error: exceptions carry their code, and a cancellation its cause")
{
    CHECK(leat::cancelled_error{}.code() == errc::cancelled);
    CHECK(leat::cancelled_error{}.cause() == nullptr);
    CHECK(leat::timed_out_error{}.code() == errc::deadline_exceeded);
    CHECK(leat::channel_closed_error{}.code() == errc::channel_closed);
    const leat::deadlock_error deadlock{"task 7 waits"};
    CHECK(deadlock.code() == errc::deadlock);
    CHECK(std::string{deadlock.what()}.find("task 7 waits") != std::string::npos);

    const auto why = std::make_exception_ptr(std::runtime_error{"the printer burns"});
    CHECK(leat::cancelled_error{why}.cause() == why);
}

TEST_CASE("error: a group's error says how many failed, and lists each")
{
    const std::vector<std::exception_ptr> both{std::make_exception_ptr(std::runtime_error{"first"}),
                                               std::make_exception_ptr(7)};
    const leat::group_error error{both};
    CHECK(error.errors() == both);
    const std::string text = error.what();
    CHECK(text.find("2 of the group's tasks failed") != std::string::npos);
    CHECK(text.find("std::runtime_error: first") != std::string::npos);
    CHECK(text.find("an exception of type int") != std::string::npos);
}

TEST_CASE("error: throw_error throws the exception that belongs to the code")
{
    CHECK_THROWS_AS(leat::detail::throw_error(errc::cancelled), leat::cancelled_error);
    CHECK_THROWS_AS(leat::detail::throw_error(errc::deadline_exceeded), leat::timed_out_error);
    CHECK_THROWS_AS(leat::detail::throw_error(errc::channel_closed), leat::channel_closed_error);
    try {
        leat::detail::throw_error(std::make_error_code(std::errc::no_space_on_device));
        FAIL("nothing was thrown");
    } catch (const std::system_error& error) {
        CHECK(error.code() == std::errc::no_space_on_device);
        CHECK(dynamic_cast<const leat::cancelled_error*>(&error) == nullptr);
    }
}

TEST_CASE("error: code_of gives the code of a system_error, and errc::failed for the rest")
{
    CHECK(leat::detail::code_of(std::make_exception_ptr(leat::timed_out_error{})) == errc::deadline_exceeded);
    const auto io = std::make_exception_ptr(std::system_error{std::make_error_code(std::errc::io_error)});
    CHECK(leat::detail::code_of(io) == std::errc::io_error);
    CHECK(leat::detail::code_of(std::make_exception_ptr(std::runtime_error{"x"})) == errc::failed);
    CHECK(leat::detail::code_of(std::make_exception_ptr(1)) == errc::failed);
    CHECK(leat::detail::code_of(nullptr) == errc::failed);
}

TEST_CASE("error: describe names the type and what it says")
{
    CHECK(leat::detail::describe(std::make_exception_ptr(std::out_of_range{"page 9"})) ==
          "std::out_of_range: page 9");
    CHECK(leat::detail::describe(std::make_exception_ptr(1.5)) == "an exception of type double");
    CHECK(leat::detail::describe(nullptr) == "nothing");
}
