module comfylatch

go 1.26
