#!/usr/bin/env python3
"""A small Django application's database traffic: django_shop.py setup | run REQUESTS. libpq's variables say where."""
import os, sys

import django
from django.apps import AppConfig
from django.conf import settings


class ShopConfig(AppConfig):
    path = os.path.dirname(os.path.abspath(__file__))


settings.configure(
    INSTALLED_APPS=[ShopConfig("shop", sys.modules[__name__])], USE_TZ=True, TIME_ZONE="UTC", DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql", "HOST": os.environ["PGHOST"], "PORT": os.environ["PGPORT"],
        "USER": os.environ["PGUSER"], "NAME": os.environ["PGDATABASE"],
        # As Django's manual says for transaction pooling.
        "CONN_MAX_AGE": None, "DISABLE_SERVER_SIDE_CURSORS": True}})
django.setup()

from django.db import connection, models, transaction  # noqa: E402: settings come first
from django.db.models import Count, F, Sum  # noqa: E402

import shop  # noqa: E402


class Shop(models.Model):
    class Meta:
        abstract = True
        app_label = "shop"


class Author(Shop):
    name = models.CharField(max_length=100)


class Book(Shop):
    author = models.ForeignKey(Author, models.CASCADE)
    title = models.CharField(max_length=200)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    stock = models.IntegerField(default=1_000_000)
    updated_at = models.DateTimeField(null=True)


class Customer(Shop):
    email = models.EmailField(unique=True)


class Order(Shop):
    customer = models.ForeignKey(Customer, models.CASCADE)
    state = models.CharField(max_length=20, default="new")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(null=True)


class OrderLine(Shop):
    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    book = models.ForeignKey(Book, models.PROTECT)
    quantity = models.IntegerField()


def setup():
    with connection.schema_editor() as editor:
        for model in (Author, Book, Customer, Order, OrderLine):
            editor.create_model(model)
    with connection.cursor() as cursor:
        cursor.execute(shop.FUNCTIONS)
    Author.objects.bulk_create(Author(name=f"Author {n}") for n in range(shop.AUTHORS))
    authors = list(Author.objects.all())
    Book.objects.bulk_create(
        Book(author=authors[n % shop.AUTHORS], title=f"Book {n}: a title", price=10 + n % 7) for n in range(shop.BOOKS))
    Customer.objects.bulk_create(Customer(email=f"customer{n}@example.com") for n in range(shop.CUSTOMERS))


def value(sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchone()[0]


def list_books(choose):
    books = Book.objects.select_related("author").filter(author_id=choose.randint(1, shop.AUTHORS))
    books.count()
    list(books.order_by("title")[:10])


def show_book(choose):
    book = Book.objects.select_related("author").get(pk=choose.randint(1, shop.BOOKS))
    value("SELECT slug(%s)", book.title)
    OrderLine.objects.filter(book=book).aggregate(Sum("quantity"))


def place_order(choose):
    chosen = sorted(choose.sample(range(1, shop.BOOKS + 1), 3))
    with transaction.atomic():
        customer = Customer.objects.get(pk=choose.randint(1, shop.CUSTOMERS))
        order = Order.objects.create(customer=customer)
        books = list(Book.objects.select_for_update().filter(pk__in=chosen).order_by("pk"))
        OrderLine.objects.bulk_create(OrderLine(order=order, book=book, quantity=1) for book in books)
        for book in books:
            value("SELECT reserve(%s, %s)", book.pk, 1)
        value("SELECT order_total(%s)", order.pk)


def change_price(choose):
    book = Book.objects.get(pk=choose.randint(1, shop.BOOKS))
    book.price += 1 if book.price < 100 else -50
    book.save(update_fields=["price"])


def show_order(choose):
    for order in Order.objects.filter(customer_id=choose.randint(1, shop.CUSTOMERS)).prefetch_related("lines__book")[:1]:
        list(order.lines.all())


def cancel_order(choose):
    with transaction.atomic():
        Order.objects.filter(customer_id=choose.randint(1, shop.CUSTOMERS), state="new").update(state="cancelled")
    Order.objects.filter(pk=-choose.randint(1, 1_000)).delete()


def report(_choose):
    list(Author.objects.annotate(books=Count("book"), stock=Sum(F("book__stock") * F("book__price"))))


def nightly_job(_choose):
    with transaction.atomic():
        value("SELECT pg_advisory_xact_lock(%s)::text", shop.LOCK)
        Order.objects.filter(state="cancelled").update(state="closed")
    value("SELECT pg_advisory_lock(%s)::text", shop.LOCK)
    Book.objects.filter(stock__lt=0).update(stock=0)
    value("SELECT pg_advisory_unlock(%s)", shop.LOCK)


if __name__ == "__main__":
    if sys.argv[1:] == ["setup"]:
        setup()
    else:
        requests = {name: globals()[name] for name, _ in shop.MIX}
        shop.run({**requests, "count": int(sys.argv[2])}, lambda: connection.close())
